/**
 * A colour for each name, told apart for as many names as there are hues. The name decides, so that
 * it mostly looks the same in every browser; where that hue is taken the next free one is.
 */
const HUES = [255, 25, 145, 305, 60, 195, 350, 110, 280, 40, 170, 230]; // neighbours far apart

export class Colours {
  #hueOf = new Map(); // name -> hue

  /** The hue of a name, in degrees of oklch. */
  of(name) {
    if (!this.#hueOf.has(name)) this.#hueOf.set(name, this.#choose(name));
    return this.#hueOf.get(name);
  }

  clear() {
    this.#hueOf.clear();
  }

  #choose(name) {
    const taken = new Set(this.#hueOf.values());
    const first = hash(name) % HUES.length;
    const inTurn = [...HUES.slice(first), ...HUES.slice(0, first)];
    return inTurn.find((hue) => !taken.has(hue)) ?? inTurn[0];
  }
}

function hash(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return sum;
}
