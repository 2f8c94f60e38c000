/** Which key does what in the player. Pure, so that the rules can be read and tested in one place. */

export type PlayerAction =
  | { do: 'toggle' }
  | { do: 'seekBy'; seconds: number }
  | { do: 'seekToPart'; part: number }
  | { do: 'volumeBy'; step: number }
  | { do: 'speedBy'; steps: number }
  | { do: 'mute' }
  | { do: 'fullscreen' };

export interface KeyPress {
  key: string;
  /** Ctrl, Alt or Meta is held: the browser's business. */
  modified: boolean;
  /** Focus is within the player; else the page scrolls by arrows up and down. */
  inPlayer: boolean;
  target: 'text' | 'button' | 'slider' | 'other';
}

export function actionFor({ key, modified, inPlayer, target }: KeyPress): PlayerAction | null {
  if (modified || target === 'text') return null;
  switch (key) {
    case ' ':
      return target === 'button' ? null : { do: 'toggle' };
    case 'k':
    case 'K':
      return { do: 'toggle' };
    case 'j':
    case 'J':
      return { do: 'seekBy', seconds: -10 };
    case 'l':
    case 'L':
      return { do: 'seekBy', seconds: 10 };
    case 'ArrowLeft':
      return target === 'slider' ? null : { do: 'seekBy', seconds: -5 };
    case 'ArrowRight':
      return target === 'slider' ? null : { do: 'seekBy', seconds: 5 };
    case 'ArrowUp':
      return inPlayer && target !== 'slider' ? { do: 'volumeBy', step: 0.05 } : null;
    case 'ArrowDown':
      return inPlayer && target !== 'slider' ? { do: 'volumeBy', step: -0.05 } : null;
    case 'f':
    case 'F':
      return { do: 'fullscreen' };
    case 'm':
    case 'M':
      return { do: 'mute' };
    case '<':
      return { do: 'speedBy', steps: -1 };
    case '>':
      return { do: 'speedBy', steps: 1 };
    case 'Home':
      return inPlayer && target !== 'slider' ? { do: 'seekToPart', part: 0 } : null;
    default:
      return /^[0-9]$/.test(key) && inPlayer ? { do: 'seekToPart', part: Number(key) / 10 } : null;
  }
}

/** What kind of element a key was pressed on; `null` where the player must keep out, as in a dialog or menu. */
export function targetKind(element: Element | null): KeyPress['target'] | null {
  if (!element) return 'other';
  if (element.closest('[role="dialog"], [role="menu"], [role="listbox"]')) return null;
  if (element instanceof HTMLInputElement) return element.type === 'range' ? 'slider' : 'text';
  if (element.closest('textarea, select, [contenteditable="true"]')) return 'text';
  return element.closest('button, a, summary, [role="button"]') ? 'button' : 'other';
}
