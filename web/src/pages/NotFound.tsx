import { Button } from '@mantine/core';
import { IconMapOff } from '@tabler/icons-react';
import { Link } from 'react-router';
import { EmptyState } from '../components/EmptyState';
import { usePageTitle } from '../lib/page';

export function NotFound({ title = 'There is nothing here' }: { title?: string }) {
  usePageTitle(title);
  return (
    <EmptyState
      order={1}
      title={title}
      icon={<IconMapOff size={64} stroke={1.3} color="var(--mr-accent)" aria-hidden />}
      action={
        <Button component={Link} to="/" mt="sm">
          Go to the start page
        </Button>
      }
    >
      The address may be mistyped, or what was there may be gone or private.
    </EmptyState>
  );
}
