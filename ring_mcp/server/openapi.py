"""The OpenAPI document of the gateway, made from the models that validate and answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ring_mcp import __version__
from ring_mcp.conductors.report import HealthReport
from ring_mcp.conductors.results import GenerateImageResult, GenerateVideoResult
from ring_mcp.conductors.spending import Spending
from ring_mcp.conductors.whoami import Context
from ring_mcp.domain.fields import tidy
from ring_mcp.domain.thumbnails import ThumbnailFields
from ring_mcp.presets import Presets
from ring_mcp.tools.choices import image_choices, video_choices
from ring_mcp.tools.image_create import ImageCreateArguments, image_descriptions
from ring_mcp.tools.job_cancel import JobCancelResult
from ring_mcp.tools.job_get import AnyJobResult
from ring_mcp.tools.job_list import JobList, JobListArguments
from ring_mcp.tools.model_list import ModelList, ModelListArguments
from ring_mcp.tools.video_create import VideoCreateArguments, video_descriptions

_FAILURE = {
    "type": "object",
    "properties": {
        "success": {"const": False},
        "error": {"type": "string", "description": "What happened, in words."},
        "code": {"type": "string"},
        "billed": {"enum": ["yes", "no", "unknown"]},
        "retryable": {"type": "boolean"},
        "nextAction": {"type": "string"},
        "jobId": {"type": "string"},
    },
    "required": ["success", "error"],
}
_WAIT = {
    "name": "waitSeconds",
    "in": "query",
    "schema": {"type": "number", "minimum": 0, "maximum": 3600},
    "description": "How long to wait for the result.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "Counts as idempotencyKey.",
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "examples": ["respond-async"]},
    "description": "respond-async: answer at once, with the job. Other preferences are ignored.",
}
_CONFIRMED = {
    "type": "boolean",
    "description": "Where RING_CONFIRM asks before spending: true vouches for somebody's yes; false has the call "
    "refused with its quote (402), so that you can ask.",
}


def openapi_document(prefix: str, presets: Presets) -> dict[str, Any]:
    """OpenAPI 3.1. Every answer is Ring's envelope."""
    # Models stay open: the document does not depend on the configuration, and an endpoint may have others.
    image = ImageCreateArguments.input_schema(image_descriptions(presets), image_choices(presets, closed=False))
    video = VideoCreateArguments.input_schema(video_descriptions(presets), video_choices(presets, closed=False))
    return {
        "openapi": "3.1.0",
        "info": {"title": "ring-mcp gateway", "version": __version__},
        "security": [{"serviceToken": []}],
        "paths": {
            f"{prefix}/images/generate": {"post": _create("createImage", image, GenerateImageResult)},
            f"{prefix}/videos/generate": {"post": _create("createVideo", video, GenerateVideoResult)},
            f"{prefix}/meta/health": {"get": _read("health", HealthReport, [])},
            f"{prefix}/meta/context": {"get": _read("context", Context, [])},
            f"{prefix}/meta/models": {"get": _read("listModels", ModelList, _models_parameters())},
            f"{prefix}/meta/spend": {"get": _read("spend", Spending, [])},
            f"{prefix}/jobs": {"get": _read("listJobs", JobList, _list_parameters())},
            f"{prefix}/jobs/{{jobId}}": {"get": _read("getJob", AnyJobResult, [_path_id(), _WAIT], (404, 502))},
            f"{prefix}/jobs/{{jobId}}/thumbnail": {"post": _draw()},
            f"{prefix}/jobs/{{jobId}}/cancel": {
                "post": _read("cancelJob", JobCancelResult, [_path_id()], (403, 404, 502))
            },
        },
        "components": {
            "securitySchemes": {"serviceToken": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Failure": _FAILURE},
        },
    }


def _create(name: str, arguments: dict[str, Any], result: type[BaseModel]) -> dict[str, Any]:
    schema = {**arguments, "properties": {**arguments["properties"], "confirmed": _CONFIRMED}}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    success = {str(status): _success(result) for status in (200, 201, 202)}
    return {
        "operationId": name,
        "parameters": [_WAIT, _KEY, _PREFER],
        "requestBody": body,
        "responses": {**success, **_failures(400, 401, 402, 403, 404, 408, 413, 415, 429, 500, 502, 503)},
    }


def _read(
    name: str, result: type[BaseModel], parameters: list[dict[str, Any]], more: tuple[int, ...] = (502,)
) -> dict[str, Any]:
    return {
        "operationId": name,
        "parameters": parameters,
        "responses": {"200": _success(result), **_failures(400, 401, 429, 500, 503, *more)},
    }


def _draw() -> dict[str, Any]:
    schema = tidy(ThumbnailFields.model_json_schema(by_alias=True))
    schema = _inline(schema, schema.pop("$defs", {}))
    return {
        **_read("drawThumbnail", GenerateVideoResult, [_path_id()], (403, 404, 413, 415, 502)),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


def _path_id() -> dict[str, Any]:
    return {"name": "jobId", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _models_parameters() -> list[dict[str, Any]]:
    properties = ModelListArguments.input_schema()["properties"]
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]


def _list_parameters() -> list[dict[str, Any]]:
    properties = JobListArguments.input_schema()["properties"]
    key = {"type": "string", "description": "Only the job that this key stands for; no other filter goes with it."}
    return [{"name": n, "in": "query", "schema": s} for n, s in {**properties, "idempotencyKey": key}.items()]


def _success(result: type[BaseModel]) -> dict[str, Any]:
    data = tidy(result.model_json_schema(by_alias=True, mode="serialization"))
    definitions = data.pop("$defs", None)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"success": {"const": True}, "data": data},
        "required": ["success", "data"],
    }
    if definitions:
        schema = _inline({**schema, "$defs": definitions}, definitions)
        schema.pop("$defs")
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its references resolved: inside an OpenAPI document a ``$ref`` has another root."""
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        # This ends, since no model of ours contains itself.
        return _inline({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, definitions)
    return {key: _inline(value, definitions) for key, value in schema.items()}


def _failures(*statuses: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
    return {str(status): {"description": "Not done.", "content": content} for status in statuses}
