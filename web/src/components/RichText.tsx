import { Anchor } from '@mantine/core';
import { useMemo } from 'react';
import { pieces } from '../lib/richtext';

/** Plain text whose web addresses are links and whose times move the player there. */
export function RichText({ text, onSeek }: { text: string; onSeek: (seconds: number) => void }) {
  const parts = useMemo(() => pieces(text), [text]);
  return parts.map((piece, n) => {
    const key = `${n}`;
    if (piece.kind === 'text') return <span key={key}>{piece.text}</span>;
    if (piece.kind === 'link') {
      return (
        <Anchor key={key} inherit href={piece.href} target="_blank" rel="noopener noreferrer nofollow">
          {piece.text}
        </Anchor>
      );
    }
    return (
      <Anchor key={key} inherit component="button" type="button" onClick={() => onSeek(piece.seconds)}>
        {piece.text}
      </Anchor>
    );
  });
}
