// Computes supervision steps with ONNX Runtime Web, off the page's thread. The state stays here between steps.

/** @typedef {import("./attempts.js").Model} Model */

/** @type {any} */
let ort = null;
/** @type {any} */
let session = null;
/** @type {Model} */
let model;
/** @type {any} */
let y = null;
/** @type {any} */
let z = null;

/** An error that is shown as it is. */
class Refused extends Error {}

/**
 * A file's bytes, reported as they come.
 * @param {string} url
 * @param {string} name
 * @param {number} expected bytes, as models.json says; 0: not known
 */
async function fetched(url, name, expected) {
    let response;
    try {
        response = await fetch(url);
    } catch {
        throw new Refused(`${name} cannot be fetched: is the page still online?`);
    }
    if (!response.ok || !response.body) throw new Refused(`${name} cannot be fetched (HTTP ${response.status})`);
    const reader = response.body.getReader();
    const parts = [];
    let size = 0;
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) break;
            parts.push(value);
            size += value.length;
            postMessage({ type: "progress", name, loaded: size, total: expected });
        }
    } catch {
        throw new Refused(`${name} was cut short after ${size.toLocaleString("en")} bytes: the connection broke; load the page again`);
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
    }
    return bytes;
}

/**
 * A module. The browser does not say why it cannot import one, which is found out by asking for the file.
 * @param {string} url
 * @param {string} name
 */
async function imported(url, name) {
    try {
        return await import(url);
    } catch (error) {
        await fetched(url, name, 0);
        throw new Refused(`${name} cannot be run (${error instanceof Error ? error.message : error}); run make web again`);
    }
}

/** @param {Uint8Array} bytes @param {string} name */
async function check(bytes, name) {
    if (bytes.length !== model.bytes) {
        const how = bytes.length < model.bytes ? "the file was cut short" : "another file is in its place";
        throw new Refused(`${name} has ${bytes.length.toLocaleString("en")} bytes, expected ${model.bytes.toLocaleString("en")}: ${how}; run make web again`);
    }
    if (!globalThis.crypto?.subtle) return; // a page that is not from localhost or https has no digests
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== model.sha256) throw new Refused(`${name} is damaged: its SHA-256 is not the one in models.json; run make web again`);
}

/** @param {{model: Model, base: string, way: string, script: string, wasm: string, wasmBytes: number}} asked */
async function open(asked) {
    model = asked.model;
    const file = /** @type {string} */ (model.file);
    const [bytes, wasm, loaded] = await Promise.all([
        fetched(new URL(file, asked.base).href, file, model.bytes),
        fetched(new URL(asked.wasm, asked.base).href, asked.wasm, asked.wasmBytes),
        imported(new URL(asked.script, asked.base).href, asked.script),
    ]);
    await check(bytes, file);
    ort = loaded;
    ort.env.wasm.numThreads = 1; // more would need cross-origin isolation, which static hosts do not give
    ort.env.wasm.wasmBinary = wasm.buffer;
    ort.env.logLevel = "error";
    const started = performance.now();
    try {
        session = await ort.InferenceSession.create(bytes, { executionProviders: [asked.way], logSeverityLevel: 3 });
    } catch (error) {
        throw new Refused(`ONNX Runtime Web cannot run ${file}: ${error instanceof Error ? error.message : error}`);
    }
    // The first step compiles: taken now, so that the visitor's first one is as fast as the others.
    await step({ tokens: new Int32Array(model.cells).fill(1), reset: true });
    return { milliseconds: performance.now() - started, version: ort.env.versions?.web ?? "" };
}

/** @param {number[]} shape */
function zeros(shape) {
    return new ort.Tensor("float32", new Float32Array(shape[0] * shape[1]), [1, ...shape]);
}

/** @param {{tokens: Int32Array, reset: boolean}} asked */
async function step({ tokens, reset }) {
    if (reset || !y) {
        y = zeros(model.state.y);
        z = zeros(model.state.z);
    }
    const feeds = /** @type {Record<string, any>} */ ({
        tokens: new ort.Tensor("int32", tokens, [1, tokens.length]),
        reset: new ort.Tensor("bool", [reset], [1]),
        y, z,
    });
    if (model.puzzle_ids) feeds.puzzle_ids = new ort.Tensor("int32", new Int32Array(1), [1]);
    const started = performance.now();
    const found = await session.run(feeds);
    const milliseconds = performance.now() - started;
    y = found.y_next;
    z = found.z_next;
    const answer = Int32Array.from(found.answer.data);
    return { answer, haltLogit: found.halt_logit.data[0], confidence: softmax(found.logits.data, answer), milliseconds };
}

/**
 * Probability of each cell's token.
 * @param {Float32Array} logits [L, V]
 * @param {Int32Array} tokens [L]
 */
function softmax(logits, tokens) {
    const wide = model.vocabulary;
    return Float32Array.from(tokens, (token, cell) => {
        const row = logits.subarray(cell * wide, (cell + 1) * wide);
        const most = Math.max(...row);
        const total = row.reduce((sum, value) => sum + Math.exp(value - most), 0);
        return Math.exp(row[token] - most) / total;
    });
}

addEventListener("message", async ({ data }) => {
    try {
        const value = data.type === "open" ? await open(data) : await step(data);
        postMessage({ type: "done", id: data.id, value });
    } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        postMessage({ type: "failed", id: data.id, message, refused: error instanceof Refused });
    }
});
