import { Anchor, Button, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, Navigate, useLocation } from 'react-router';
import { api } from '../api/client';
import { queries, useMe } from '../api/queries';
import type { Me } from '../api/types';
import { ProblemNotice } from '../components/ProblemNotice';
import { Wheel } from '../components/Wheel';
import { usePageTitle } from '../lib/page';
import classes from './Form.module.css';

export function SignIn() {
  usePageTitle('Sign in');
  const me = useMe();
  const next = useNext();
  const client = useQueryClient();
  const instance = useQuery(queries.instance()).data;
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { login: '', password: '' },
    validate: {
      login: value => (value.trim() === '' ? 'Type your login' : null),
      password: value => (value === '' ? 'Type your password' : null),
    },
  });
  const signIn = useMutation({
    mutationFn: (values: { login: string; password: string }) =>
      api.signIn({ login: values.login.trim().toLowerCase(), password: values.password }),
    onSuccess: account => startSession(client, account),
  });

  if (me) return <Navigate to={next} replace />;
  return (
    <div className={classes.card}>
      <div className={classes.head}>
        <Wheel size={52} />
        <Title order={1}>Sign in</Title>
      </div>
      <form onSubmit={form.onSubmit(values => signIn.mutate(values))} noValidate>
        <Stack>
          {signIn.isError && <ProblemNotice error={signIn.error} />}
          <TextInput
            label="Login"
            name="login"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            data-autofocus
            autoFocus
            required
            key={form.key('login')}
            {...form.getInputProps('login')}
          />
          <PasswordInput
            label="Password"
            name="password"
            autoComplete="current-password"
            required
            key={form.key('password')}
            {...form.getInputProps('password')}
          />
          <Button type="submit" size="md" mt="xs" loading={signIn.isPending}>
            Sign in
          </Button>
        </Stack>
      </form>
      {instance && instance.sign_up !== 'closed' && (
        <Text ta="center" mt="lg" size="sm">
          No account yet?{' '}
          <Anchor component={Link} to="/sign-up" state={{ next }} inherit>
            Sign up
          </Anchor>
        </Text>
      )}
    </div>
  );
}

/** Where a visitor wanted to go when the sign-in came between. */
export function useNext(): string {
  const { state } = useLocation();
  const next = (state as { next?: unknown } | null)?.next;
  return typeof next === 'string' && /^\/(?!\/)/.test(next) ? next : '/';
}

/** What was read as a visitor may look different to the account. */
export function startSession(client: ReturnType<typeof useQueryClient>, account: Me): void {
  client.setQueryData(['me'], account);
  void client.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'me' && queryKey[0] !== 'playback' });
}
