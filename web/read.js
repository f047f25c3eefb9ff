// Reads puzzles from text, in the forms that `trm-deploy run` reads. Never a puzzle that nobody wrote: what could be read
// in two ways, or is damaged, is refused.

/** @typedef {import("./board.js").Task} Task */

/**
 * @param {Task} task
 * @param {string} text
 * @returns {{puzzles: string[], faults: string[]}}
 */
export function readPuzzles(task, text) {
    const line = text.trim();
    return line.length === task.cells ? { puzzles: [line.replaceAll(".", "0")], faults: [] } : { puzzles: [], faults: ["no puzzle"] };
}
