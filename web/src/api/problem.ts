/** Errors of the API as RFC 9457 problem documents, and what stands in for one when there is no reply. */

export interface FieldError {
  field: string;
  message: string;
}

interface ProblemDocument {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  errors?: FieldError[];
}

export class Problem extends Error {
  /** The last part of the problem's type, such as `taken`; `unreachable` without any reply. */
  readonly slug: string;
  readonly status: number;
  readonly title: string;
  readonly fields: FieldError[];
  readonly retryAfterSeconds: number | null;

  constructor(status: number, document: ProblemDocument, retryAfterSeconds: number | null = null, cause?: unknown) {
    const title = document.title ?? fallbackTitle(status);
    super(document.detail ?? title, { cause });
    this.name = 'Problem';
    this.status = status;
    this.title = title;
    this.slug = document.type?.split('/').pop() || (status === 0 ? 'unreachable' : `status-${status}`);
    this.fields = Array.isArray(document.errors) ? document.errors : [];
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether the same request may succeed later without a change by the user. */
  get transient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export async function problemOf(reply: Response): Promise<Problem> {
  const seconds = Number(reply.headers.get('Retry-After') ?? Number.NaN);
  const isJson = /[/+]json\b/.test(reply.headers.get('Content-Type') ?? '');
  const document: ProblemDocument = isJson ? await reply.json().catch(() => ({})) : {};
  return new Problem(reply.status, document, Number.isFinite(seconds) ? seconds : null);
}

export function unreachable(cause: unknown): Problem {
  const detail = 'The server can’t be reached. Check the connection and try again.';
  return new Problem(0, { title: 'No connection', detail }, null, cause);
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(-1, { title: 'Something went wrong', detail: error instanceof Error ? error.message : undefined });
}

/** Messages by field name, for forms. */
export function fieldErrors(problem: Problem): Record<string, string> {
  return Object.fromEntries(problem.fields.map(({ field, message }) => [field, message]));
}

function fallbackTitle(status: number): string {
  if (status === 401) return 'You are not signed in';
  if (status === 403) return 'Not allowed';
  if (status === 404) return 'Not found';
  if (status === 429) return 'Too many requests';
  if (status >= 500) return 'The server has a problem';
  return 'The request failed';
}
