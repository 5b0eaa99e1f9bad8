// Cloze cards: the front is a sentence with a gap in the place of the back.

const GAP = "____";

export const isCloze = (front) => front.includes(GAP);

/** Make each gap in what is shown of a front one that is seen, and read out, as a gap. */
export function showGaps(shown) {
  const texts = document.createTreeWalker(shown, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode()); ) {
    const at = text.data.indexOf(GAP);
    if (at < 0) continue;
    const gap = document.createElement("span");
    Object.assign(gap, { className: "gap", role: "img", ariaLabel: "gap", textContent: GAP });
    text.splitText(at).splitText(GAP.length);
    text.nextSibling.replaceWith(gap);
    texts.currentNode = gap.firstChild;
  }
}
