import { Anchor, Button, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, Navigate, useSearchParams } from 'react-router';
import { api } from '../api/client';
import { asProblem, fieldErrors } from '../api/problem';
import { queries, useMe } from '../api/queries';
import type { NewAccount } from '../api/types';
import { EmptyState } from '../components/EmptyState';
import { PageLoading } from '../components/PageLoading';
import { ProblemNotice } from '../components/ProblemNotice';
import { Wheel } from '../components/Wheel';
import { usePageTitle } from '../lib/page';
import classes from './Form.module.css';
import { startSession, useNext } from './SignIn';

export function SignUp() {
  usePageTitle('Sign up');
  const me = useMe();
  const next = useNext();
  const instance = useQuery(queries.instance());
  if (me) return <Navigate to={next} replace />;
  if (instance.isError) return <ProblemNotice error={instance.error} onRetry={() => void instance.refetch()} />;
  if (!instance.data) return <PageLoading />;
  if (instance.data.sign_up === 'closed') {
    return (
      <EmptyState
        order={1}
        title="Sign-up is closed here"
        action={
          <Button component={Link} to="/sign-in" variant="light">
            Sign in
          </Button>
        }
      >
        Whoever runs this server gives out accounts. You can watch everything public without one.
      </EmptyState>
    );
  }
  return <SignUpForm invited={instance.data.sign_up === 'invitation'} />;
}

function SignUpForm({ invited }: { invited: boolean }) {
  const next = useNext();
  const [params] = useSearchParams();
  const client = useQueryClient();
  const form = useForm<Required<NewAccount>>({
    initialValues: { login: '', password: '', handle: '', name: '', invitation: params.get('invitation') ?? '' },
    validateInputOnBlur: true,
    validate: {
      login: value => (/^[a-z0-9._@+-]{3,64}$/.test(value) ? null : '3 to 64 of a–z, 0–9 and . _ @ + -'),
      password: value => (value.length >= 8 ? null : 'At least 8 characters'),
      name: value => (value.trim().length >= 1 && value.trim().length <= 80 ? null : '1 to 80 characters'),
      handle: value => (/^[a-z0-9-]{3,30}$/.test(value) ? null : '3 to 30 of a–z, 0–9 and -'),
      invitation: value => (invited && value.trim() === '' ? 'This server asks for an invitation' : null),
    },
  });
  const signUp = useMutation({
    mutationFn: ({ invitation, name, ...account }: Required<NewAccount>) =>
      api.signUp({ ...account, name: name.trim(), ...(invitation.trim() && { invitation: invitation.trim() }) }),
    onSuccess: account => startSession(client, account),
    onError: error => form.setErrors(fieldErrors(asProblem(error))),
  });
  const general = signUp.isError && asProblem(signUp.error).fields.length === 0 ? signUp.error : null;

  return (
    <div className={classes.card}>
      <div className={classes.head}>
        <Wheel size={52} />
        <Title order={1}>Sign up</Title>
        <Text c="dimmed" size="sm">
          An account comes with a channel to publish on.
        </Text>
      </div>
      <form onSubmit={form.onSubmit(values => signUp.mutate(values))} noValidate>
        <Stack>
          {general !== null && <ProblemNotice error={general} />}
          <TextInput
            label="Login"
            description="To sign in with; others don’t see it."
            name="login"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            autoFocus
            required
            {...form.getInputProps('login')}
            onChange={event => form.setFieldValue('login', event.currentTarget.value.toLowerCase())}
          />
          <PasswordInput
            label="Password"
            description="At least 8 characters."
            name="password"
            autoComplete="new-password"
            required
            {...form.getInputProps('password')}
          />
          <TextInput
            label="Channel name"
            name="name"
            autoComplete="nickname"
            maxLength={80}
            required
            {...form.getInputProps('name')}
            onChange={event => {
              const name = event.currentTarget.value;
              if (form.values.handle === handleOf(form.values.name)) form.setFieldValue('handle', handleOf(name));
              form.setFieldValue('name', name);
            }}
          />
          <TextInput
            label="Handle"
            description="The channel’s short name."
            name="handle"
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            leftSection="@"
            maxLength={30}
            required
            {...form.getInputProps('handle')}
            onChange={event => form.setFieldValue('handle', event.currentTarget.value.toLowerCase())}
          />
          {invited && (
            <TextInput
              label="Invitation"
              name="invitation"
              autoComplete="off"
              required
              {...form.getInputProps('invitation')}
            />
          )}
          <Button type="submit" size="md" mt="xs" loading={signUp.isPending}>
            Create account
          </Button>
        </Stack>
      </form>
      <Text ta="center" mt="lg" size="sm">
        Have an account?{' '}
        <Anchor component={Link} to="/sign-in" state={{ next }} inherit>
          Sign in
        </Anchor>
      </Text>
    </div>
  );
}

/** A handle made of a name: `Old Mill & Co` becomes `old-mill-co`. */
export function handleOf(name: string): string {
  const plain = name.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
  return plain
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 30)
    .replace(/^-+|-+$/g, '');
}
