import { Avatar as MantineAvatar } from '@mantine/core';
import type { Channel } from '../api/types';

const COLORS = ['race', 'grain', 'indigo', 'grape', 'orange', 'teal', 'pink', 'lime'];

/** A channel's initials on a colour of its own. */
export function Avatar({ channel, size }: { channel: Channel; size: number }) {
  const sum = [...channel.handle].reduce((total, letter) => total + (letter.codePointAt(0) ?? 0), 0);
  const words = channel.name.split(/\s+/).filter(word => /\p{L}|\p{N}/u.test(word));
  const initials = words.slice(0, 2).map(word => [...word][0]?.toUpperCase());
  return (
    <MantineAvatar size={size} radius="xl" color={COLORS[sum % COLORS.length]} variant="light" aria-hidden>
      {initials.join('')}
    </MantineAvatar>
  );
}
