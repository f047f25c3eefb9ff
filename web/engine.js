// A model in this browser: the worker that computes, how it is opened, and which way to compute is the faster.

/**
 * @typedef {import("./attempts.js").Model} Model
 * @typedef {import("./attempts.js").Computed} Computed
 * @typedef {{wasm: string[], webgpu?: string[]}} Runtime script and WebAssembly of each way, relative to the page
 * @typedef {(name: string, loaded: number, total: number) => void} Progress
 */

// A module with one SIMD instruction: (func (result v128) i32.const 0 i8x16.splat).
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];
const REMEMBERED = "trm-deploy.faster";

/** What this browser lacks to compute by itself, in words; empty where it lacks nothing. */
export function missing() {
    if (typeof WebAssembly !== "object") return "This browser has no WebAssembly, which the model is computed with.";
    if (!WebAssembly.validate(new Uint8Array(SIMD))) {
        return "This browser's WebAssembly has no SIMD, which the model is computed with: Chrome 91, Firefox 89 and Safari 16.4 have it.";
    }
    if (typeof Worker !== "function") return "This browser has no web workers, in which the model is computed.";
    return "";
}

/** A worker with an opened model. */
export class Engine {
    /**
     * @param {Model} model
     * @param {Runtime} runtime
     * @param {"wasm" | "webgpu"} way
     * @param {Progress} progress
     * @param {Record<string, number>} sizes bytes of files, where they are known
     */
    constructor(model, runtime, way, progress, sizes = {}) {
        this.way = way;
        this.version = "";
        /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
        this.waiting = new Map();
        this.count = 0;
        this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
        this.worker.addEventListener("message", ({ data }) => {
            if (data.type === "progress") {
                progress(data.name, data.loaded, data.total);
                return;
            }
            const asked = this.waiting.get(data.id);
            this.waiting.delete(data.id);
            if (data.type === "done") asked?.resolve(data.value);
            else asked?.reject(new Error(data.message));
        });
        this.worker.addEventListener("error", (event) => {
            const error = new Error(event.message || "the worker that computes cannot be loaded");
            for (const { reject } of this.waiting.values()) reject(error);
            this.waiting.clear();
        });
        const [script, wasm] = /** @type {string[]} */ (runtime[way]);
        this.opened = this.#ask({ type: "open", model, base: document.baseURI, way, script, wasm, wasmBytes: sizes[wasm] ?? 0 })
            .then((found) => (this.version = found.version));
        this.failed = false;
        this.opened.catch(() => (this.failed = true)); // whoever solves hears of it
    }

    /** @param {Record<string, unknown>} message @returns {Promise<any>} */
    #ask(message) {
        this.count += 1;
        const id = this.count;
        return new Promise((resolve, reject) => {
            this.waiting.set(id, { resolve, reject });
            this.worker.postMessage({ ...message, id });
        });
    }

    /**
     * One supervision step; they are computed in the order in which they are asked for.
     * @param {Int32Array} tokens
     * @param {boolean} reset begin a new attempt
     * @returns {Promise<Computed>}
     */
    async step(tokens, reset) {
        await this.opened;
        return this.#ask({ type: "step", tokens, reset });
    }

    /** Median milliseconds of a step, of a few. @param {Int32Array} tokens */
    async measure(tokens) {
        const found = [];
        for (let number = 0; number < 4; number++) found.push((await this.step(tokens, number === 0)).milliseconds);
        return found.slice(1).sort((a, b) => a - b)[1]; // the first one also compiles
    }

    /** In words. */
    get description() {
        const how = this.way === "webgpu" ? "WebGPU" : "WebAssembly with SIMD, one thread";
        return `ONNX Runtime Web${this.version ? ` ${this.version}` : ""} in this browser (${how})`;
    }

    close() {
        this.worker.terminate();
        for (const { reject } of this.waiting.values()) reject(new Error("stopped"));
        this.waiting.clear();
    }
}

/** Whether there is a GPU that WebGPU computes on, and not a processor that plays one. */
export async function hasGpu() {
    const gpu = /** @type {any} */ (navigator).gpu;
    try {
        const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
        return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false);
    } catch {
        return false;
    }
}

/**
 * The way that was the faster here for a model, when both were measured; empty where they were not.
 * @param {Model} model
 */
export function remembered(model) {
    try {
        return JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}")[model.sha256] ?? "";
    } catch {
        return "";
    }
}

/** @param {Model} model @param {string} way */
export function remember(model, way) {
    try {
        const known = JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}");
        localStorage.setItem(REMEMBERED, JSON.stringify({ ...known, [model.sha256]: way }));
    } catch {
        // A browser that keeps nothing measures anew.
    }
}
