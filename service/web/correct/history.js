// Undo and redo over immutable values.

export class History {
  #past = [];
  #future = [];
  #present;

  constructor(present) {
    this.#present = present;
  }

  get present() {
    return this.#present;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** Make `next` the present. merge: add no undo step for the previous value, so that one undo reverts all changes of a held key. */
  push(next, { merge = false } = {}) {
    if (!merge || !this.canUndo) this.#past.push(this.#present);
    this.#present = next;
    this.#future = [];
  }

  undo() {
    if (!this.canUndo) return;
    this.#future.push(this.#present);
    this.#present = this.#past.pop();
  }

  redo() {
    if (!this.canRedo) return;
    this.#past.push(this.#present);
    this.#present = this.#future.pop();
  }
}
