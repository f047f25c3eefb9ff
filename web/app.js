// The page: what is on it, and what happens when a visitor acts.

import { make, taskOf, toText, toTokens } from "./board.js";
import { bestStep, formOf, rulesOf, solve } from "./attempts.js";
import { Editor } from "./editor.js";
import { Engine, hasGpu, missing, remember, remembered } from "./engine.js";
import { Importer } from "./importer.js";
import { randomMaze, shortest } from "./maze.js";
import { solveOnServer } from "./server.js";
import { conflicts, countAnswers, randomPuzzle } from "./sudoku.js";
import { Player, SCHEMA } from "./trace.js";

/**
 * @typedef {import("./attempts.js").Model} Model
 * @typedef {import("./trace.js").Trace} Trace
 * @typedef {"auto" | "wasm" | "webgpu" | "server"} Way
 */

const THEMES = ["as the system", "light", "dark"];
/** Of the search for further answers while a visitor types. */
const PATIENCE = 50_000;
/** Milliseconds that a GPU may take for its first steps before it is given up. */
const TRIAL = 20_000;

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);

class Page {
    /** @param {any} document what models.json holds */
    constructor(document) {
        this.document = document;
        /** @type {Model[]} */
        this.models = document.models;
        const known = new Set(this.models.map(({ task }) => task));
        this.models.push(...(document.server?.models ?? []).filter((/** @type {Model} */ model) => !known.has(model.task)));
        /** @type {Record<string, number>} */
        this.sizes = {};
        /** @type {Engine | null} */
        this.engine = null;
        this.model = this.models[0];
        this.task = taskOf(this.model.task);
        // Made where a model is chosen.
        this.editor = /** @type {Editor} */ (/** @type {unknown} */ (null));
        this.player = /** @type {Player} */ (/** @type {unknown} */ (null));
        this.stop = new AbortController();
        this.running = false;
        this.noted = 0;
        this.lack = ""; // why nothing computes here
        /** @type {Way} */
        this.way = document.runtime && !missing() ? "auto" : "server";
        this.importer = new Importer((text) => this.take(text));
        this.#listen();
        this.#tasks();
        this.choose(this.model);
    }

    // ------------------------------------------------------------------------------------------------ what is chosen

    #tasks() {
        const names = this.models.map((model) => taskOf(model.task));
        at("tasks").replaceChildren(...this.models.map((model, number) => {
            const { kind, rows, columns } = names[number];
            const label = `${kind === "sudoku" ? "Sudoku" : "Maze"} ${rows} × ${columns}`;
            const button = make("button", "", { type: "button", "aria-pressed": "false" }, label);
            button.addEventListener("click", () => (model === this.model ? undefined : this.choose(model)));
            return button;
        }));
    }

    /** @param {Model} model */
    choose(model) {
        this.#halt();
        this.engine?.close();
        this.engine = null;
        this.model = model;
        this.task = taskOf(model.task);
        this.importer.task = this.task;
        [...at("tasks").children].forEach((button, number) => button.setAttribute("aria-pressed", String(this.models[number] === model)));
        const graded = model.examples.filter(({ puzzles }) => puzzles.length);
        at("example").replaceChildren(make("option", "", { value: "" }, "choose…"), ...graded.map(({ grade, puzzles }) =>
            make("optgroup", "", { label: grade }, ...puzzles.map((puzzle, number) =>
                make("option", "", { value: puzzle }, `${grade} ${number + 1}`)))));
        const first = this.task.kind === "maze" ? toText(this.task, randomMaze(this.task)) : graded.at(-1)?.puzzles[0];
        this.editor = new Editor(at("board"), at("pad"), this.task, first ?? "0".repeat(this.task.cells));
        this.editor.onChange = () => this.#edited();
        at("player").replaceChildren();
        this.player = new Player(at("player"), this.#emptyTrace(), { board: this.editor.board });
        this.player.invitation = "Press Solve and watch: each supervision step is one look of the network at its own answer.";
        this.player.onEnd = () => this.#ended();
        at("example").value = graded.some(({ puzzles }) => puzzles.includes(this.editor.text)) ? this.editor.text : "";
        at("random").textContent = this.task.kind === "maze" ? "Make a maze" : "Random";
        this.#ways();
        this.#edited();
        this.#open();
        at("about").textContent = `Model: ${model.file ?? model.name ?? model.task}, ${(model.parameters / 1e6).toFixed(2)} million parameters, ${model.precision}`
            + `${model.bytes ? `, ${(model.bytes / 1e6).toFixed(1)} MB` : ""}. trm-deploy ${this.document.version}.`;
    }

    #ways() {
        const { runtime } = this.document;
        const here = runtime && this.model.file && !missing();
        const ways = [
            ...(here ? [["auto", "in this browser, the fastest way"], ["wasm", "in this browser: WebAssembly"]] : []),
            ...(here && runtime.webgpu && /** @type {any} */ (navigator).gpu ? [["webgpu", "in this browser: WebGPU"]] : []),
            ...(this.#served() ? [["server", "on the server that this page is from"]] : []),
        ];
        if (!ways.some(([way]) => way === this.way)) this.way = /** @type {Way} */ (ways[0]?.[0] ?? "server");
        at("way").replaceChildren(...ways.map(([way, label]) => make("option", "", { value: way }, label)));
        at("way").value = this.way;
        this.lack = ways.length ? "" : missing() || "Nothing here computes: run make web, or trm-deploy serve.";
        if (ways.length && missing() && this.way === "server") at("loading").textContent = `${missing()} The server computes instead.`;
    }

    /** The model of the chosen task that the page's server has. @returns {Model | undefined} */
    #served() {
        return this.document.server?.models.find((/** @type {Model} */ model) => model.task === this.task.name);
    }

    /** Open the model in this browser, unless the server computes. */
    #open() {
        this.engine?.close();
        this.engine = null;
        if (this.way === "server" || !this.document.runtime) return;
        const known = this.document.runtime.webgpu ? remembered(this.model) : "";
        const way = this.way === "auto" ? known || "wasm" : this.way;
        const engine = this.#engine(way);
        this.engine = engine;
        delete document.documentElement.dataset.model;
        at("progress").hidden = false;
        engine.opened.then(() => {
            if (this.engine !== engine) return;
            at("loading").textContent = "";
            at("progress").hidden = true;
            document.documentElement.dataset.model = "ready";
            setTimeout(offline, 3000); // not while the first steps are computed
            if (this.way === "auto" && !known) setTimeout(() => this.#tryGpu(engine), 3000);
        }, (error) => {
            if (this.engine !== engine) return;
            at("loading").textContent = "";
            at("progress").hidden = true;
            if (way === "webgpu" && this.way === "auto") {
                remember(this.model, "wasm");
                this.#open();
            } else this.#problem(error.message);
        });
    }

    /** @param {"wasm" | "webgpu"} way */
    #engine(way) {
        /** @type {Record<string, [number, number]>} */
        const files = {};
        return new Engine(this.model, this.document.runtime, way, (name, loaded, total) => {
            files[name] = [loaded, total];
            const sums = Object.values(files).reduce(([a, b], [c, d]) => [a + c, b + Math.max(c, d)], [0, 0]);
            at("progress").max = sums[1];
            at("progress").value = sums[0];
            at("loading").textContent = `Loading the model and what computes it: ${(sums[0] / 1e6).toFixed(1)} of ${(sums[1] / 1e6).toFixed(1)} MB`;
        }, this.sizes);
    }

    /** Measure both ways once, where there is a GPU, and keep the faster. @param {Engine} engine */
    async #tryGpu(engine) {
        if (this.engine !== engine || !this.document.runtime.webgpu || /** @type {any} */ (navigator).connection?.saveData || !(await hasGpu())) return;
        const { model } = this;
        const other = new Engine(model, this.document.runtime, "webgpu", () => {});
        try {
            const tokens = toTokens(this.task, this.editor.text);
            const slow = new Promise((_, refuse) => setTimeout(() => refuse(new Error("slow")), TRIAL));
            const gpu = await Promise.race([other.measure(tokens), slow]);
            while (this.running) await new Promise((done) => setTimeout(done, 500));
            if (this.engine !== engine) return;
            const faster = gpu < (await engine.measure(tokens)) ? "webgpu" : "wasm";
            remember(model, faster);
            if (faster === "webgpu" && this.engine === engine && !this.running) {
                this.engine = other;
                engine.close();
            }
        } catch {
            remember(model, "wasm");
        } finally {
            if (this.engine !== other) other.close();
        }
    }

    // -------------------------------------------------------------------------------------------------- the puzzle

    /** @returns {Trace} */
    #emptyTrace() {
        return { schema: SCHEMA, task: this.task.name, puzzle: this.editor.text, halt_threshold: this.model.halt_threshold, forms: {}, steps: [] };
    }

    #edited() {
        this.#halt();
        this.player.load(this.#emptyTrace());
        at("summary").textContent = "";
        this.#problem(this.lack);
        at("undo").disabled = !this.editor.past.length;
        at("redo").disabled = !this.editor.future.length;
        clearTimeout(this.noted);
        this.#note(false);
        this.noted = window.setTimeout(() => this.#note(true), 200);
    }

    /** Say what the puzzle is. @param {boolean} whole count its answers too */
    #note(whole) {
        const tokens = toTokens(this.task, this.editor.text);
        const faults = rulesOf(this.task).questionFaults(this.task, tokens);
        const sudoku = this.task.kind === "sudoku";
        // An answer that came in the meantime stays on the board.
        if (this.player.place < 0) this.editor.board.show(this.editor.text, { faulty: sudoku ? conflicts(this.task, tokens) : undefined });
        this.#button(faults.length > 0);
        at("note").classList.toggle("bad", faults.length > 0);
        if (faults.length) at("note").textContent = `${sudoku ? "The givens break the rules: " : ""}${faults.slice(0, 4).join("; ")}.`;
        else if (!sudoku) at("note").textContent = `The shortest path takes ${shortest(this.task, tokens)} steps.`;
        else {
            const givens = Array.from(tokens).filter((token) => token > 1).length;
            at("note").textContent = `${givens} given${givens === 1 ? "" : "s"}${whole ? this.#answers(tokens) : ""}.`;
        }
    }

    /** @param {Int32Array} tokens */
    #answers(tokens) {
        const { count, whole } = countAnswers(this.task, tokens, { patience: PATIENCE });
        if (count > 1) return "; more than one answer is possible, and the one that the model finds is shown";
        if (!whole) return "";
        return count ? ", one answer" : "; no answer obeys the rules";
    }

    /** A puzzle that was read. @param {string} text */
    take(text) {
        this.editor.replace(text);
        at("example").value = "";
    }

    // ------------------------------------------------------------------------------------------------------ solving

    #halt() {
        this.stop.abort();
        this.running = false;
        this.#button(false);
    }

    /** @param {boolean} disabled */
    #button(disabled) {
        at("solve").textContent = this.running ? "Stop" : "Solve";
        at("solve").disabled = disabled && !this.running;
    }

    async solve() {
        if (at("solve").disabled) return;
        this.#halt();
        this.#problem(this.lack);
        if (this.lack) return;
        at("summary").textContent = "";
        const { task, player } = this;
        const served = this.way === "server" ? this.#served() : undefined;
        const model = served ?? this.model;
        const trace = this.#emptyTrace();
        this.stop = new AbortController();
        const { signal } = this.stop;
        const puzzle = toTokens(task, trace.puzzle);
        if (!served && (!this.engine || this.engine.failed)) this.#open();
        const { engine } = this;
        this.running = true;
        this.#button(false);
        player.load(trace);
        player.grown(false);
        player.play();
        try {
            const steps = served ? solveOnServer(this.document.server.stream, String(served.name), trace, signal)
                : solve((tokens, reset) => /** @type {Engine} */ (engine).step(tokens, reset), model, task, puzzle, signal);
            for await (const step of steps) {
                const form = formOf(model, step.attempt);
                if (form && trace.forms) trace.forms[step.attempt] = form;
                step.faults ??= rulesOf(task).answerFaults(task, puzzle, toTokens(task, step.answer));
                trace.steps.push(step);
                player.grown(false);
            }
        } catch (error) {
            if (!signal.aborted) this.#problem(error instanceof Error ? error.message : String(error));
        }
        if (this.stop.signal !== signal) return; // another puzzle has taken its place
        this.running = false;
        this.#button(false);
        trace.computed_by = served ? `the server, ${served.description ?? served.name}` : /** @type {Engine} */ (engine).description;
        player.grown(true);
        this.#summarize(trace);
        if (!player.playing && player.place < 0) player.pause();
    }

    /** @param {Trace} trace */
    #summarize(trace) {
        const { steps } = trace;
        if (!steps.length) return;
        const best = steps[bestStep(steps)];
        const times = steps.flatMap(({ milliseconds }) => milliseconds ?? []).sort((a, b) => a - b);
        const time = times.length ? `, ${times[times.length >> 1].toFixed(0)} ms a step` : "";
        const count = (/** @type {number} */ number, /** @type {string} */ noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
        const attempts = steps[steps.length - 1].attempt;
        const most = Math.min(this.model.attempts, this.model.forms.length + 1);
        const result = best.verified ? `Verified in attempt ${best.attempt}, step ${best.step}` : `Not solved; attempt ${best.attempt} breaks the fewest rules`;
        at("summary").textContent = `${result}: ${count(attempts, "attempt")} of up to ${most}, ${count(steps.length, "step")} in all${time}. `
            + `Computed by ${trace.computed_by}.`;
    }

    /** All that was computed has been shown: end on the attempt that counts. */
    #ended() {
        const { steps } = this.player.trace;
        const best = bestStep(steps);
        if (best >= 0 && !steps[this.player.place]?.verified) this.player.show(best);
    }

    /** @param {string} text */
    #problem(text) {
        at("problem").hidden = !text;
        at("problem").textContent = text;
    }

    // ------------------------------------------------------------------------------------------------------- events

    #listen() {
        const on = (/** @type {string} */ id, /** @type {string} */ event, /** @type {(event: any) => void} */ act) => at(id).addEventListener(event, act);
        on("solve", "click", () => {
            if (!this.running) this.solve();
            else {
                this.#halt();
                this.player.grown(true);
                this.#note(false);
            }
        });
        on("clear", "click", () => this.take(this.editor.blank));
        on("undo", "click", () => this.editor.undo());
        on("redo", "click", () => this.editor.redo());
        on("example", "change", () => at("example").value && this.editor.replace(at("example").value));
        on("random", "click", () => this.take(toText(this.task, this.task.kind === "maze" ? randomMaze(this.task) : randomPuzzle(this.task))));
        on("paste", "click", () => this.importer.open());
        on("way", "change", () => {
            this.way = at("way").value;
            this.#halt();
            this.#problem("");
            this.#note(true);
            this.#open();
        });
        document.addEventListener("paste", (event) => {
            if (at("import").open) return;
            event.preventDefault();
            this.importer.paste(event.clipboardData?.getData("text/plain") ?? "");
        });
        document.addEventListener("keydown", (event) => {
            if (!(event.ctrlKey || event.metaKey) || at("import").open || event.key.toLowerCase() !== "z") return;
            event.preventDefault();
            if (event.shiftKey) this.editor.redo();
            else this.editor.undo();
        });
    }
}

/** Keep the page's files for when there is no network. */
function offline() {
    // Not from a file or an insecure address, where there are no service workers.
    navigator.serviceWorker?.register("sw.js").catch(() => {});
}

function theme() {
    const known = (() => {
        try {
            return localStorage.getItem("trm-deploy.theme") ?? "";
        } catch {
            return "";
        }
    })();
    let chosen = Math.max(THEMES.indexOf(known), 0);
    const show = () => {
        if (chosen) document.documentElement.dataset.theme = THEMES[chosen];
        else delete document.documentElement.dataset.theme;
        at("theme").textContent = `Theme: ${THEMES[chosen]}`;
    };
    at("theme").addEventListener("click", () => {
        chosen = (chosen + 1) % THEMES.length;
        show();
        try {
            localStorage.setItem("trm-deploy.theme", THEMES[chosen]);
        } catch {
            // A browser that keeps nothing forgets it.
        }
    });
    show();
}

async function start() {
    theme();
    try {
        const response = await fetch("models.json");
        if (!response.ok) throw new Error(`HTTP ${response.status}`);
        const found = await response.json();
        if (found.schema !== 1 || !(found.models?.length || found.server?.models.length)) throw new Error("it names no models");
        new Page(found);
    } catch (error) {
        at("problem").hidden = false;
        at("problem").textContent = `models.json cannot be read (${error instanceof Error ? error.message : error}): run make web, or trm-deploy serve.`;
    }
}

start();
