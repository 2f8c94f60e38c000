import { describe, expect, it } from 'vitest';
import { actionFor, type KeyPress, targetKind } from './shortcuts';

const press = (key: string, more: Partial<KeyPress> = {}) =>
  actionFor({ key, modified: false, inPlayer: false, target: 'other', ...more });

describe('actionFor', () => {
  it.each([
    [' ', { do: 'toggle' }],
    ['k', { do: 'toggle' }],
    ['j', { do: 'seekBy', seconds: -10 }],
    ['l', { do: 'seekBy', seconds: 10 }],
    ['ArrowLeft', { do: 'seekBy', seconds: -5 }],
    ['ArrowRight', { do: 'seekBy', seconds: 5 }],
    ['f', { do: 'fullscreen' }],
    ['m', { do: 'mute' }],
    ['>', { do: 'speedBy', steps: 1 }],
  ])('takes %j anywhere on the page', (key, action) => expect(press(key)).toEqual(action));

  it('leaves typing and the browser’s own shortcuts alone', () => {
    for (const key of [' ', 'k', 'f', 'ArrowLeft', '5']) {
      expect(press(key, { target: 'text', inPlayer: true })).toBeNull();
      expect(press(key, { modified: true, inPlayer: true })).toBeNull();
    }
  });

  it('lets the space bar press a focused button', () => {
    expect(press(' ', { target: 'button' })).toBeNull();
    expect(press('k', { target: 'button' })).toEqual({ do: 'toggle' });
  });

  it('scrolls the page by arrows up and down unless the player has the focus', () => {
    expect(press('ArrowUp')).toBeNull();
    expect(press('ArrowUp', { inPlayer: true })).toEqual({ do: 'volumeBy', step: 0.05 });
    expect(press('5', { inPlayer: true })).toEqual({ do: 'seekToPart', part: 0.5 });
  });

  it('leaves arrows to a slider', () => {
    for (const key of ['ArrowLeft', 'ArrowUp']) expect(press(key, { target: 'slider', inPlayer: true })).toBeNull();
  });
});

describe('targetKind', () => {
  it('tells elements apart', () => {
    document.body.innerHTML = `
      <input id="a"><input id="b" type="range"><button id="c"><i id="d"></i></button><p id="e"></p>
      <div role="dialog"><button id="f"></button></div>`;
    const kinds = ['a', 'b', 'c', 'd', 'e', 'f'].map(id => targetKind(document.getElementById(id)));
    expect(kinds).toEqual(['text', 'slider', 'button', 'button', 'other', null]);
  });
});
