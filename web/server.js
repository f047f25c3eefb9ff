// Supervision steps from `trm-deploy serve`, as server-sent events.

/**
 * @typedef {import("./trace.js").Step} Step
 * @typedef {import("./trace.js").Trace} Trace
 */

// Where the browser keeps the server's token, until its tab is closed.
const TOKEN = "trm-deploy token";

/**
 * @param {string} address where it streams, relative to the page
 * @param {string} name of the model
 * @param {Trace} trace whose puzzle is to be solved
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Step>}
 */
export async function* solveOnServer(address, name, trace, signal) {
    let response;
    try {
        response = await post(`${address}?model=${encodeURIComponent(name)}`, JSON.stringify({ puzzles: [trace.puzzle] }), signal);
    } catch (error) {
        if (signal.aborted) return;
        throw new Error(`The server cannot be reached: ${error instanceof Error ? error.message : error}`);
    }
    for await (const { event, data } of events(response)) {
        if (event === "step") yield data;
        else if (data.error) throw new Error(`The server: ${data.error}`);
        else if (event === "end") return;
    }
    throw new Error("The server's answer ends before its end: the connection broke");
}

/**
 * Post JSON; where the server wants a token, the visitor is asked for it.
 * @param {string} address
 * @param {string} body
 * @param {AbortSignal} signal
 */
async function post(address, body, signal) {
    const send = () => {
        const token = sessionStorage.getItem(TOKEN);
        const headers = { "Content-Type": "application/json", Accept: "text/event-stream" };
        const authorized = token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
        return fetch(address, { method: "POST", headers: authorized, body, signal });
    };
    const response = await send();
    if (response.status !== 401) return response;
    sessionStorage.removeItem(TOKEN);
    const token = prompt("This server asks for its token")?.trim();
    if (!token) return response;
    sessionStorage.setItem(TOKEN, token);
    return send();
}

/**
 * The events of a response.
 * @param {Response} response
 */
async function* events(response) {
    if (!response.ok || !response.body) {
        let message = `HTTP ${response.status}`;
        try {
            message = (await response.json()).error ?? message;
        } catch {
            // The status alone tells.
        }
        throw new Error(`The server refuses: ${message}`);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        rest += value;
        const blocks = rest.split(/\r?\n\r?\n/);
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
            const lines = block.split(/\r?\n/);
            const field = (/** @type {string} */ name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trimStart());
            const data = field("data").join("\n");
            if (data) yield { event: field("event")[0] ?? "message", data: JSON.parse(data) };
        }
    }
}
