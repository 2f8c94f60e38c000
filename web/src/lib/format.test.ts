import { describe, expect, it } from 'vitest';
import { age, badge, bytes, clock, count, spokenDuration, watchTime } from './format';
import { pieces } from './richtext';

describe('format', () => {
  it.each([
    [0, '0:00'],
    [59_999, '0:59'],
    [61_000, '1:01'],
    [3_600_000, '1:00:00'],
    [3_723_000, '1:02:03'],
    [-5, '0:00'],
  ])('shows %d ms as %s', (ms, text) => expect(clock(ms)).toBe(text));

  it('rounds a badge and never shows nothing', () => {
    expect([badge(300), badge(9_980), badge(59_600)]).toEqual(['0:01', '0:10', '1:00']);
  });

  it('speaks durations', () => {
    expect([spokenDuration(0), spokenDuration(61_000), spokenDuration(7_200_000)]).toEqual([
      '0 seconds',
      '1 minute 1 second',
      '2 hours',
    ]);
  });

  it('counts', () => {
    expect([count(0, 'view'), count(1, 'view'), count(1_234, 'view')]).toEqual(['0 views', '1 view', '1.2K views']);
  });

  it('sums watch time', () => {
    expect([watchTime(40_400), watchTime(720_000), watchTime(12_240_000), watchTime(7.2e9)]).toEqual([
      '40 s',
      '12 min',
      '3.4 h',
      '2,000 h',
    ]);
  });

  it('tells ages', () => {
    const now = Date.parse('2030-01-10T12:00:00Z');
    const times = ['2030-01-10T11:59:30Z', '2030-01-10T11:55:00Z', '2030-01-09T12:00:00Z', '2028-01-01T00:00:00Z'];
    expect(times.map(time => age(time, now))).toEqual(['just now', '5 minutes ago', 'yesterday', '2 years ago']);
  });

  it('tells sizes', () => {
    expect([bytes(0), bytes(1023), bytes(1536), bytes(700 * 2 ** 20)]).toEqual(['0 B', '1023 B', '1.5 KiB', '700 MiB']);
  });
});

describe('pieces', () => {
  it('finds addresses without the punctuation after them, and times', () => {
    expect(pieces('See https://example.org/a?b=1. At 1:02:03 and 0:07!')).toEqual([
      { kind: 'text', text: 'See ' },
      { kind: 'link', text: 'https://example.org/a?b=1', href: 'https://example.org/a?b=1' },
      { kind: 'text', text: '. At ' },
      { kind: 'time', text: '1:02:03', seconds: 3_723 },
      { kind: 'text', text: ' and ' },
      { kind: 'time', text: '0:07', seconds: 7 },
      { kind: 'text', text: '!' },
    ]);
  });

  it('takes nothing else for a link', () => {
    expect(pieces('javascript:alert(1) 12:99 1:2 ratio 16:9')).toEqual([
      { kind: 'text', text: 'javascript:alert(1) 12:99 1:2 ratio 16:9' },
    ]);
  });
});
