import { Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';
import { Wheel } from './Wheel';

interface EmptyStateProps {
  title: string;
  /** The mark of Millrace unless something fits better. */
  icon?: ReactNode;
  children?: ReactNode;
  action?: ReactNode;
  order?: 1 | 2;
}

export function EmptyState({ title, icon, children, action, order = 2 }: EmptyStateProps) {
  return (
    <Stack align="center" ta="center" gap="sm" py={{ base: 48, sm: 88 }} px="md">
      {icon ?? <Wheel size={72} />}
      <Title order={order} size="h2" mt="xs">
        {title}
      </Title>
      {children && (
        <Text c="dimmed" maw={460} component="div">
          {children}
        </Text>
      )}
      {action}
    </Stack>
  );
}
