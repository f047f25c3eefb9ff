// Attempts at a puzzle as the command line makes them: the puzzle itself, then symmetric forms of it, each for a number
// of supervision steps, until the rules verify an answer. `models.json` has the forms in their order.

import { applyForm, invertForm, toText } from "./board.js";
import * as maze from "./maze.js";
import * as sudoku from "./sudoku.js";

/**
 * @typedef {import("./board.js").Task} Task
 * @typedef {import("./board.js").Form} Form
 * @typedef {import("./trace.js").Step} Step
 * @typedef {{task: string, name?: string, description?: string, file: string | null, cells: number, bytes: number, sha256: string, precision: string, parameters: number,
 *     puzzle_ids: boolean, vocabulary: number, state: {y: number[], z: number[]}, halt_threshold: number,
 *     attempts: number, attempt_steps: number[], budget: number | null, forms: Form[],
 *     examples: {grade: string, puzzles: string[]}[]}} Model
 * @typedef {{answer: Int32Array, haltLogit: number, confidence: Float32Array, milliseconds: number}} Computed
 *     one supervision step of one puzzle, in the form that was computed
 * @typedef {(tokens: Int32Array, reset: boolean) => Promise<Computed>} Compute
 */

/** @param {Task} task */
export function rulesOf(task) {
    return task.kind === "sudoku" ? sudoku : maze;
}

/**
 * The form that an attempt solves; undefined for the first, which solves the puzzle itself.
 * @param {Model} model
 * @param {number} attempt from 1
 * @returns {Form | undefined}
 */
export function formOf(model, attempt) {
    return attempt > 1 ? model.forms[attempt - 2] : undefined;
}

/**
 * Solve a puzzle, one supervision step after the other.
 * @param {Compute} compute
 * @param {Model} model
 * @param {Task} task
 * @param {Int32Array} puzzle token ids
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Step>}
 */
export async function* solve(compute, model, task, puzzle, signal) {
    const rules = rulesOf(task);
    const threshold = Math.fround(model.halt_threshold);
    const attempts = Math.min(model.attempts, model.forms.length + 1);
    let left = model.budget ?? Infinity;
    for (let attempt = 1; attempt <= attempts && left > 0; attempt++) {
        const form = formOf(model, attempt);
        const tokens = form ? applyForm(form, puzzle) : puzzle;
        const most = Math.min(model.attempt_steps[Math.min(attempt, model.attempt_steps.length) - 1], left);
        for (let step = 1; step <= most; step++) {
            if (signal.aborted) return;
            const computed = await compute(tokens, step === 1);
            if (signal.aborted) return;
            left -= 1;
            const answer = form ? invertForm(form, computed.answer) : computed.answer;
            const confidence = own(form, computed.confidence);
            const faults = rules.answerFaults(task, puzzle, answer);
            const halted = computed.haltLogit > threshold;
            yield {
                attempt, step, answer: toText(task, answer), confidence, halt_logit: computed.haltLogit, halted,
                verified: faults.length === 0, faults, milliseconds: computed.milliseconds,
            };
            // An attempt counts as it is when it ends: an answer that is right on the way may still change.
            if (halted || step === most) {
                if (faults.length === 0) return;
                break;
            }
        }
    }
}

/** @param {Form | undefined} form @param {Float32Array} values */
function own(form, values) {
    if (!form) return Array.from(values);
    const found = new Array(values.length).fill(0);
    form.cells.forEach((cell, place) => (found[cell] = values[place]));
    return found;
}

/**
 * The attempt to show: the first that is verified, else the one with the fewest broken rules, the earlier of equals.
 * @param {Step[]} steps
 * @returns {number} place of its last step; -1 where there are none
 */
export function bestStep(steps) {
    let best = -1;
    steps.forEach((step, place) => {
        const ends = steps[place + 1]?.attempt !== step.attempt;
        if (!ends) return;
        const better = best < 0 || (step.faults?.length ?? Infinity) < (steps[best].faults?.length ?? Infinity);
        if (!steps[best]?.verified && (step.verified || better)) best = place;
    });
    return best;
}
