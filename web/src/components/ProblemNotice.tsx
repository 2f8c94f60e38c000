/** A failed request, told so that a person can act on it. */
import { Alert, Button, Group, Stack, Text } from '@mantine/core';
import { IconAlertTriangle, IconRefresh } from '@tabler/icons-react';
import { asProblem } from '../api/problem';

interface ProblemNoticeProps {
  error: unknown;
  onRetry?: () => void;
}

export function ProblemNotice({ error, onRetry }: ProblemNoticeProps) {
  const problem = asProblem(error);
  const { retryAfterSeconds } = problem;
  return (
    <Alert
      role="alert"
      color="red"
      variant="light"
      icon={<IconAlertTriangle />}
      title={capitalized(problem.title)}
      data-problem={problem.slug}
    >
      <Stack gap="sm" align="flex-start">
        <Text size="sm">
          {problem.message}
          {retryAfterSeconds !== null && ` Try again in ${retryAfterSeconds} s.`}
        </Text>
        {onRetry && (
          <Group>
            <Button size="xs" variant="default" leftSection={<IconRefresh size={15} />} onClick={onRetry}>
              Try again
            </Button>
          </Group>
        )}
      </Stack>
    </Alert>
  );
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
