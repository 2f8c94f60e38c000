/** Finds web addresses and times of the video in plain text. */
export type Piece =
  | { kind: 'text'; text: string }
  | { kind: 'link'; text: string; href: string }
  | { kind: 'time'; text: string; seconds: number };

const MARKS = /(?<link>https?:\/\/[^\s<>"']+)|(?<![\d:.])(?<time>(?:\d{1,2}:)?[0-5]?\d:[0-5]\d)(?![\d:])/g;

export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(MARKS)) {
    // Punctuation after an address belongs to the sentence.
    const mark = match.groups?.link ? match[0].replace(/[.,;:!?)\]]+$/, '') : match[0];
    if (match.index > at) found.push({ kind: 'text', text: text.slice(at, match.index) });
    if (match.groups?.link) found.push({ kind: 'link', text: mark, href: mark });
    else
      found.push({
        kind: 'time',
        text: mark,
        seconds: mark.split(':').reduce((sum, part) => sum * 60 + Number(part), 0),
      });
    at = match.index + mark.length;
  }
  if (at < text.length) found.push({ kind: 'text', text: text.slice(at) });
  return found;
}
