// A host of MCP Apps in a page, of the official library: it puts the viewer into a sandboxed frame and lets the test answer for the server.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

window.openViewer = async ({ frame: address, sandbox, capabilities, theme }) => {
  const frame = document.createElement("iframe");
  // On an origin of its own, as the specification has it.
  frame.setAttribute("sandbox", sandbox ?? "allow-scripts allow-same-origin");
  frame.title = "viewer";
  frame.style.cssText = "width: 100%; height: 640px; border: 0";
  document.body.replaceChildren(frame);
  const bridge = new AppBridge(null, { name: "a host of the tests", version: "1" }, capabilities, { hostContext: { theme } });
  const seen = { links: [], sizes: [], calls: [], reads: [] };
  window.seen = seen;
  bridge.onopenlink = async ({ url }) => (seen.links.push(url), {});
  bridge.oncalltool = async (params) => (seen.calls.push(params), window.callTool(params));
  bridge.onreadresource = async (params) => (seen.reads.push(params.uri), window.readResource(params));
  bridge.addEventListener("sizechange", (size) => seen.sizes.push(size));
  const ready = new Promise((resolve) => bridge.addEventListener("initialized", resolve));
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.src = address;
  await ready;
  window.bridge = bridge;
};
window.giveResult = (args, result) => window.bridge.sendToolInput({ arguments: args }).then(() => window.bridge.sendToolResult(result));
