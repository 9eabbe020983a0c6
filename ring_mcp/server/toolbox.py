"""The tools of an App by name, each made when it is first called or listed: its module and its models take
milliseconds, and a client waits for its first result with all of a start before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ring_mcp.operator_settings import video_settings

if TYPE_CHECKING:
    from ring_mcp.app import App
    from ring_mcp.tools.tool import Tool


class Toolbox(Mapping[str, "Tool[Any]"]):
    def __init__(self, app: App) -> None:
        self._app = app
        self._made = dict[str, "Tool[Any]"]()
        self._makers: Mapping[str, Callable[[], Tool[Any]]] = {
            "ring-image-create": self._image_create,
            "ring-video-create": self._video_create,
            "ring-job-get": self._job_get,
            "ring-job-list": self._job_list,
            "ring-job-cancel": self._job_cancel,
            "ring-script-run": self._script_run,
            "ring-health": self._health,
            "ring-whoami": self._whoami,
            "ring-model-list": self._model_list,
            "ring-spend": self._spend,
        }

    def __getitem__(self, name: str) -> Tool[Any]:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def _image_create(self) -> Tool[Any]:
        from ring_mcp.tools.image_create import image_create_tool

        app, config = self._app, self._app.config
        return image_create_tool(
            app.images,
            app.previews,
            config.inline_wait_s,
            app.presets,
            closed=not config.own_endpoints,  # own endpoints may have others
            settings=video_settings(config).images,
        )

    def _video_create(self) -> Tool[Any]:
        from ring_mcp.tools.video_create import video_create_tool

        app, config = self._app, self._app.config
        return video_create_tool(
            app.videos,
            app.previews,
            config.inline_wait_s,
            app.presets,
            closed=not config.own_endpoints,
            settings=video_settings(config),
        )

    def _job_get(self) -> Tool[Any]:
        from ring_mcp.tools.job_get import job_get_tool

        return job_get_tool(self._app.calls, self._app.previews, self._app.config.inline_wait_s)

    def _job_list(self) -> Tool[Any]:
        from ring_mcp.tools.job_list import job_list_tool

        return job_list_tool(self._app.ledger)

    def _job_cancel(self) -> Tool[Any]:
        from ring_mcp.tools.job_cancel import job_cancel_tool

        return job_cancel_tool(self._app.calls, self._app.cancelling)

    def _script_run(self) -> Tool[Any]:
        from ring_mcp.tools.script_run import script_run_tool

        app = self._app
        return script_run_tool(
            lambda actor_id: app.maker(actor_id, may_see=actor_id),  # a model sees its own caller's jobs alone
            app.calls,
            app.ledger,
            app.presets,
            app.config.input_dirs,
            app.confirming,
            sandbox=bool(app.config.sandbox),
        )

    def _health(self) -> Tool[Any]:
        from ring_mcp.tools.health import health_tool

        return health_tool(self._app.health)

    def _whoami(self) -> Tool[Any]:
        from ring_mcp.tools.whoami import whoami_tool

        return whoami_tool(self._app.whoami)

    def _model_list(self) -> Tool[Any]:
        from ring_mcp.tools.model_list import model_list_tool

        # Today each time: a server may outlive a model.
        return model_list_tool(self._app.presets, lambda: self._app.clock.now().date())

    def _spend(self) -> Tool[Any]:
        from ring_mcp.tools.spend import spend_tool

        return spend_tool(self._app.spending)
