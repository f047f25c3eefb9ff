// Draws what a model does at each supervision step: a board, a plot, and a player that goes through the steps.
//
// This module, board.js and trace.css are all that a recorded trace needs; `trm_deploy.web.drawing()` in Python gives
// them for a page that is one file.
//
//     import { Player } from "./trace.js";
//     new Player(document.querySelector("#here"), trace);
//
// A trace is JSON:
//
//     {"schema": 1,
//      "task": "sudoku-9x9",            the name of the task: sudoku-4x4, -6x6, -9x9, maze-ROWSxCOLUMNS
//      "puzzle": "530070000...",        the puzzle in its one-line form: Sudoku 0 for a blank, maze "# SG"
//      "halt_threshold": 0,             an attempt ends when its halting logit exceeds it
//      "computed_by": "...",            in words; optional
//      "forms": {"2": {"cells": [...], "symbols": [...]}},   optional: of each attempt but the first, the symmetric form
//                                       that it solves: its cell i is the puzzle's cell cells[i], and a token t of the
//                                       puzzle is the token symbols[t] there
//      "steps": [{"attempt": 1,         from 1
//                 "step": 1,            supervision step of that attempt, from 1
//                 "answer": "534...",   in the puzzle's own form, one line
//                 "confidence": [...],  softmax probability of each cell's token, 0 to 1
//                 "halt_logit": -3.2,   a number; "inf", "-inf" and "nan" as text
//                 "halted": false,
//                 "verified": false,    whether the answer obeys the rules and keeps the givens
//                 "faults": ["..."],    optional: the rules that it breaks, in words
//                 "milliseconds": 130}  optional: time of the step
//               ]}
//
// These are the fields of the steps that `Solver.trace` gives in Python.

import { Board, applyForm, changes, describeForm, make, taskOf, toText, toTokens } from "./board.js";

/**
 * @typedef {import("./board.js").Task} Task
 * @typedef {import("./board.js").Form} Form
 * @typedef {{attempt: number, step: number, answer: string, confidence: number[], halt_logit: number | string,
 *     halted: boolean, verified: boolean, faults?: string[], milliseconds?: number}} Step
 * @typedef {{schema: number, task: string, puzzle: string, halt_threshold: number, computed_by?: string,
 *     forms?: Record<string, Form>, steps: Step[]}} Trace
 */

export const SCHEMA = 1;
const SVG = "http://www.w3.org/2000/svg";
/** Below this softmax probability a cell counts as doubtful in words; the drawing shows all of it. */
const DOUBTFUL = 0.9;
/** Outlines of the signs on the controls, in a square of 16. */
const SIGNS = {
    first: "M2 2h2.5v12H2zM14 2v12L5.5 8z",
    back: "M11.5 2v12L3.5 8z",
    play: "M4 1.5v13L14 8z",
    pause: "M3.5 2H7v12H3.5zM9 2h3.5v12H9z",
    next: "M4.5 2v12l8-6z",
    last: "M11.5 2H14v12h-2.5zM2 2v12l8.5-6z",
};

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 */
function drawn(name, attributes, text = "") {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    if (text) made.textContent = text;
    return made;
}

/** @param {keyof typeof SIGNS} name */
function sign(name) {
    const made = drawn("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
    made.append(drawn("path", { d: SIGNS[name] }));
    return made;
}

/**
 * Cells that changed at each step, from the step before of the same attempt; at the first from the puzzle.
 * @param {string} puzzle
 * @param {Step[]} steps
 */
export function changedCells(puzzle, steps) {
    return steps.map((step, place) => changes(step.step === 1 ? puzzle : steps[place - 1].answer, step.answer));
}

/** Halting logit and changed cells against the step, attempts side by side. */
export class Plot {
    /** @param {HTMLElement} host */
    constructor(host) {
        this.element = /** @type {SVGSVGElement} */ (drawn("svg", { class: "plot", role: "img", viewBox: "0 0 640 220" }));
        host.append(this.element);
    }

    /**
     * @param {Trace} trace
     * @param {number} current place of the step that is shown, -1 for none
     */
    show(trace, current) {
        const { steps, puzzle, halt_threshold: threshold } = trace;
        const svg = this.element;
        svg.replaceChildren();
        // As wide as it is drawn, so that its words keep their size on a phone.
        const width = Math.min(Math.max(svg.clientWidth || 640, 300), 720);
        const height = 220;
        svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
        const [left, right, top, bottom] = [44, width - 38, 14, height - 36];
        const logits = steps.map((step) => Number(step.halt_logit)).map((value) => (Number.isFinite(value) ? value : 0));
        const counts = changedCells(puzzle, steps);
        let low = Math.min(threshold, ...logits, -1);
        let high = Math.max(threshold, ...logits, 1);
        const room = (high - low) * 0.08;
        [low, high] = [low - room, high + room];
        const most = Math.max(1, ...counts);
        const wide = (right - left) / Math.max(steps.length, 4);
        const x = (/** @type {number} */ place) => left + wide * (place + 0.5);
        const y = (/** @type {number} */ value) => bottom - ((bottom - top) * (value - low)) / (high - low);
        steps.forEach((step, place) => {
            if (step.attempt % 2 === 0) {
                svg.append(drawn("rect", { class: "other", x: x(place) - wide / 2, y: top, width: wide, height: bottom - top }));
            }
            const tall = ((bottom - top) * counts[place]) / most;
            const bar = { class: "changes", x: x(place) - wide * 0.3, y: bottom - tall, width: wide * 0.6, height: tall };
            svg.append(drawn("rect", bar));
        });
        if (current >= 0) svg.append(drawn("rect", { class: "now", x: x(current) - wide / 2, y: top, width: wide, height: bottom - top }));
        svg.append(drawn("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
        svg.append(drawn("line", { class: "threshold", x1: left, x2: right, y1: y(threshold), y2: y(threshold) }));
        for (const value of [high - room, threshold, low + room]) {
            const number = Math.abs(value) < 10 ? value.toFixed(1) : value.toFixed(0);
            svg.append(drawn("text", { class: "tick", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, number));
        }
        svg.append(drawn("text", { class: "tick", x: right + 6, y: top + 4 }, String(most)));
        svg.append(drawn("text", { class: "tick", x: right + 6, y: bottom + 4 }, "0"));
        svg.append(drawn("polyline", { class: "logit", points: logits.map((value, place) => `${x(place)},${y(value)}`).join(" ") }));
        steps.forEach((step, place) => {
            const radius = steps.length > 60 ? 2.5 : 4;
            const dot = drawn("circle", { class: step.halted ? "dot halted" : "dot", cx: x(place), cy: y(logits[place]), r: radius });
            dot.append(drawn("title", {}, `attempt ${step.attempt}, step ${step.step}: halting logit ${logits[place].toFixed(2)}, ${counts[place]} cells changed`));
            svg.append(dot);
        });
        // Steps are numbered; attempts, where there are several, instead. Sixteen labels have room.
        const several = (steps.at(-1)?.attempt ?? 1) > 1;
        const named = several ? steps.filter((step) => step.step === 1) : steps;
        const skip = Math.ceil(named.length / 16);
        named.filter((_, number) => number % skip === 0).forEach((step) => {
            const at = { class: "tick", x: x(steps.indexOf(step)), y: bottom + 16, "text-anchor": "middle" };
            svg.append(drawn("text", at, several ? `#${step.attempt}` : String(step.step)));
        });
        const axis = several ? "attempts, step by step" : "supervision step";
        svg.append(drawn("text", { class: "tick", x: (left + right) / 2, y: bottom + 32, "text-anchor": "middle" }, axis));
        const now = steps[current];
        svg.setAttribute("aria-label", now
            ? `Halting logit ${logits[current].toFixed(2)} at step ${now.step} of attempt ${now.attempt}, ${counts[current]} cells changed; an attempt halts above ${threshold}`
            : "Halting logit and changed cells against the step: nothing computed yet");
    }
}

/** The board, the plot and the controls that go through the steps of a trace, which may still grow. */
export class Player {
    /**
     * @param {HTMLElement} host
     * @param {Trace} trace
     * @param {{board?: Board, boardHost?: HTMLElement, autoplay?: boolean, speed?: number}} [options]
     *     board: one that is there already; boardHost: where else the board goes
     */
    constructor(host, trace, { board, boardHost, autoplay = false, speed = 1 } = {}) {
        this.task = taskOf(trace.task);
        this.place = -1; // of the step that is shown; -1: the puzzle alone
        this.playing = false;
        this.timer = 0;
        this.period = 500 / speed;
        /** Called when the last step there is has been shown while it plays. @type {() => void} */
        this.onEnd = () => {};
        this.invitation = "Nothing computed yet."; // shown while there is no step
        /** Called when the visitor pauses, plays or steps. @type {(playing: boolean) => void} */
        this.onControl = () => {};
        this.element = make("div", "player");
        this.board = board ?? new Board(boardHost ?? this.element, this.task);
        this.verdict = make("p", "verdict", { role: "status" });
        this.where = make("p", "where");
        this.#controls();
        this.plot = new Plot(make("div", "plotted"));
        const legend = make("p", "legend", {},
            make("span", "key logit"), "halting logit ", make("span", "key threshold"), "halts above ",
            make("span", "key changes"), "changed cells");
        this.seen = make("figure", "seen", { hidden: "" });
        this.element.append(this.controls, this.where, this.verdict,
            /** @type {Node} */ (this.plot.element.parentNode), legend, this.seen);
        host.append(this.element);
        /** @type {Trace} */
        this.trace = trace;
        this.load(trace);
        if (autoplay) this.play();
    }

    #controls() {
        const button = (/** @type {string} */ label, /** @type {keyof typeof SIGNS} */ name, /** @type {() => void} */ act) => {
            const made = make("button", "control", { type: "button", "aria-label": label, title: label }, sign(name));
            made.addEventListener("click", act);
            return made;
        };
        const go = (/** @type {number} */ place) => {
            this.pause();
            this.onControl(false);
            this.show(place);
        };
        this.first = button("First step", "first", () => go(0));
        this.back = button("Step back", "back", () => go(this.place - 1));
        this.toggle = button("Play", "play", () => {
            if (this.playing) this.pause();
            else this.play();
            this.onControl(this.playing);
        });
        this.next = button("Step forward", "next", () => go(this.place + 1));
        this.last = button("Last step", "last", () => go(this.trace.steps.length - 1));
        this.scrub = make("input", "scrub", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step shown" });
        this.scrub.addEventListener("input", () => go(Number(this.scrub.value)));
        this.speed = make("select", "speed", { "aria-label": "Speed" });
        for (const [value, text] of [["0.5", "\u00bd\u00d7"], ["1", "1\u00d7"], ["2", "2\u00d7"], ["4", "4\u00d7"], ["50", "fastest"]]) {
            this.speed.append(make("option", "", { value }, text));
        }
        this.speed.value = "1";
        this.speed.addEventListener("change", () => (this.period = 500 / Number(this.speed.value)));
        this.controls = make("div", "controls", { role: "group", "aria-label": "Steps" },
            this.first, this.back, this.toggle, this.next, this.last, this.scrub, this.speed);
    }

    /**
     * Another trace, or the same one with more steps.
     * @param {Trace} trace
     */
    load(trace) {
        if (trace !== this.trace || this.place >= trace.steps.length) {
            this.pause();
            this.trace = trace;
            this.place = -1;
        }
        this.show(this.place < 0 && trace.steps.length ? 0 : this.place);
    }

    /** Go on from the step that is shown; from the first where that is the last. */
    play() {
        if (this.place >= this.trace.steps.length - 1 && this.trace.steps.length > 1) this.show(0);
        this.playing = true;
        this.#sign();
        this.#later();
    }

    /** Stop at the step that is shown. */
    pause() {
        this.playing = false;
        clearTimeout(this.timer);
        this.#sign();
    }

    /** Steps have been added to the trace; `ended`: there will be no more. @param {boolean} ended */
    grown(ended) {
        this.ended = ended;
        this.show(this.place < 0 && this.trace.steps.length ? 0 : this.place);
        if (this.playing) this.#later();
    }

    #later() {
        clearTimeout(this.timer);
        this.timer = window.setTimeout(() => {
            if (!this.playing) return;
            if (this.place + 1 < this.trace.steps.length) {
                this.show(this.place + 1);
                this.#later();
            } else if (this.ended !== false) {
                this.pause();
                this.onEnd();
            }
        }, this.place < 0 ? 0 : this.period);
    }

    #sign() {
        this.toggle.replaceChildren(sign(this.playing ? "pause" : "play"));
        for (const name of ["aria-label", "title"]) this.toggle.setAttribute(name, this.playing ? "Pause" : "Play");
    }

    /** Show one step. @param {number} place from 0; -1: the puzzle alone */
    show(place) {
        const { steps, puzzle, halt_threshold: threshold } = this.trace;
        this.place = Math.min(Math.max(place, steps.length ? 0 : -1), steps.length - 1);
        const step = steps[this.place];
        this.scrub.max = String(Math.max(steps.length - 1, 0));
        this.scrub.value = String(Math.max(this.place, 0));
        this.scrub.setAttribute("aria-valuetext", step ? `attempt ${step.attempt}, step ${step.step}` : "none");
        this.scrub.disabled = this.toggle.disabled = this.first.disabled = this.last.disabled = steps.length === 0;
        this.back.disabled = this.place <= 0;
        this.next.disabled = this.place >= steps.length - 1;
        if (!this.plot) return;
        this.plot.show(this.trace, this.place);
        if (!step) {
            this.where.textContent = this.invitation;
            this.verdict.textContent = "";
            this.seen.hidden = true;
            this.board.show(puzzle);
            return;
        }
        const before = step.step > 1 ? steps[this.place - 1].answer : undefined;
        this.board.show(puzzle, { answer: step.answer, confidence: step.confidence, before });
        const doubtful = step.confidence.filter((sure) => sure < DOUBTFUL).length;
        const time = step.milliseconds === undefined ? "" : `, ${step.milliseconds.toFixed(0)} ms`;
        this.where.textContent = `Attempt ${step.attempt}, step ${step.step}: halting logit ${Number(step.halt_logit).toFixed(2)}, `
            + `${changedCells(puzzle, steps)[this.place]} cells changed, ${doubtful} in doubt${time}`;
        this.#judge(step, threshold);
        this.#form(step);
    }

    /** @param {Step} step @param {number} threshold */
    #judge(step, threshold) {
        const ends = step.halted || this.trace.steps[this.place + 1]?.attempt !== step.attempt;
        const broken = step.faults?.length
            ? `: ${step.faults.slice(0, 3).join("; ")}${step.faults.length > 3 ? `; and ${step.faults.length - 3} more` : ""}` : "";
        const halts = step.halted ? `The model halts (above ${threshold}). ` : "";
        const text = step.verified ? `${halts}Verified by the rules.` : `${halts}Breaks the rules${broken}.`;
        this.verdict.className = `verdict ${step.verified ? "right" : ends ? "broken" : "open"}`;
        if (this.verdict.textContent !== text) this.verdict.textContent = text;
    }

    /** What the network sees, where that is another form of the puzzle. @param {Step} step */
    #form(step) {
        const form = this.trace.forms?.[step.attempt];
        this.seen.hidden = !form;
        if (!form) return;
        if (!this.small) {
            this.small = new Board(this.seen, this.task, { label: "The symmetric form that the network sees", small: true });
            this.caption = make("figcaption");
            this.seen.append(this.caption);
        }
        const inForm = (/** @type {string} */ text) => toText(this.task, applyForm(form, toTokens(this.task, text)));
        const sure = form.cells.map((cell) => step.confidence[cell]);
        this.small.show(inForm(this.trace.puzzle), { answer: inForm(step.answer), confidence: sure });
        this.caption.textContent = `What the network sees in attempt ${step.attempt}: ${describeForm(this.task, form)}. `
            + "Its answer is mapped back to the board.";
    }
}
