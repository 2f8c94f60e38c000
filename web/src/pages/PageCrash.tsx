import { Button } from '@mantine/core';
import { EmptyState } from '../components/EmptyState';

/** Shown when a page can't be drawn, most often because a new version replaced the files of an open tab. */
export function PageCrash() {
  return (
    <EmptyState
      order={1}
      title="This page could not be shown"
      action={
        <Button mt="sm" onClick={() => window.location.reload()}>
          Load it again
        </Button>
      }
    >
      Millrace may have been updated since this tab was opened.
    </EmptyState>
  );
}
