import { notifications } from '@mantine/notifications';
import { asProblem } from '../api/problem';

export function showProblem(error: unknown, title?: string): void {
  const problem = asProblem(error);
  notifications.show({ color: 'red', title: title ?? problem.title, message: problem.message, autoClose: 8_000 });
}

export function showDone(message: string): void {
  notifications.show({ color: 'race', message });
}
