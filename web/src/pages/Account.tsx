/** The account: who one is, API tokens, invitations, signing out. */
import {
  ActionIcon,
  Alert,
  Button,
  Code,
  CopyButton,
  Group,
  SimpleGrid,
  Stack,
  Table,
  Text,
  TextInput,
  Title,
  Tooltip,
} from '@mantine/core';
import { IconCheck, IconCopy, IconKey, IconLogout, IconTrash, IconUserPlus } from '@tabler/icons-react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api } from '../api/client';
import { queries, useMe } from '../api/queries';
import { useSignOut } from '../app/useSignOut';
import { Avatar } from '../components/Avatar';
import { showProblem } from '../components/notify';
import { ProblemNotice } from '../components/ProblemNotice';
import { moment } from '../lib/format';
import { usePageTitle } from '../lib/page';
import classes from './Form.module.css';

export function Account() {
  usePageTitle('Account');
  const me = useMe();
  const signOut = useSignOut();
  if (!me) return null;
  return (
    <Stack gap="lg" maw={860} mx="auto">
      <Group justify="space-between" gap="md">
        <Group wrap="nowrap">
          <Avatar channel={me.channel} size={64} />
          <div>
            <Title order={1}>{me.channel.name}</Title>
            <Text c="dimmed">
              @{me.channel.handle} · signed in as {me.login}
              {me.is_admin && ' · administrator'}
            </Text>
          </div>
        </Group>
        <Button
          variant="default"
          leftSection={<IconLogout size={17} />}
          loading={signOut.isPending}
          onClick={() => signOut.mutate()}
        >
          Sign out
        </Button>
      </Group>
      <SimpleGrid cols={1} spacing="lg">
        <Tokens />
        <Invitations />
      </SimpleGrid>
    </Stack>
  );
}

function Tokens() {
  const client = useQueryClient();
  const tokens = useQuery(queries.tokens());
  const [label, setLabel] = useState('');
  const refresh = () => client.invalidateQueries({ queryKey: ['tokens'] });
  const create = useMutation({
    mutationFn: api.createToken,
    onSuccess: () => {
      setLabel('');
      void refresh();
    },
    onError: error => showProblem(error, 'The token was not made'),
  });
  const remove = useMutation({
    mutationFn: api.deleteToken,
    onSuccess: refresh,
    onError: error => showProblem(error, 'The token was not deleted'),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (label.trim() !== '') create.mutate(label.trim());
  };

  return (
    <section className={classes.panel} aria-labelledby="tokens">
      <Title order={2} id="tokens" mb={4}>
        API tokens
      </Title>
      <Text size="sm" c="dimmed" mb="md">
        For scripts and the command line, as <Code>Authorization: Bearer …</Code>. A token may do all that you may.
      </Text>
      <form onSubmit={submit}>
        <Group align="flex-end" gap="sm">
          <TextInput
            label="What the token is for"
            placeholder="Nightly upload"
            value={label}
            onChange={event => setLabel(event.currentTarget.value)}
            maxLength={80}
            flex={1}
            miw={200}
          />
          <Button
            type="submit"
            leftSection={<IconKey size={17} />}
            loading={create.isPending}
            disabled={label.trim() === ''}
          >
            Make a token
          </Button>
        </Group>
      </form>
      {create.data && <Secret label="Copy it now; it is not shown again." value={create.data.token} />}
      {tokens.isError && <ProblemNotice error={tokens.error} onRetry={() => void tokens.refetch()} />}
      {tokens.data && tokens.data.items.length > 0 && (
        <Table.ScrollContainer minWidth={260} mt="md">
          <Table verticalSpacing="xs">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>For</Table.Th>
                <Table.Th>Made</Table.Th>
                <Table.Th aria-label="Delete" />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {tokens.data.items.map(token => (
                <Table.Tr key={token.id}>
                  <Table.Td>{token.label}</Table.Td>
                  <Table.Td>{moment(token.created_at)}</Table.Td>
                  <Table.Td ta="right">
                    <ActionIcon
                      variant="subtle"
                      color="red"
                      aria-label={`Delete the token ${token.label}`}
                      loading={remove.isPending && remove.variables === token.id}
                      onClick={() => remove.mutate(token.id)}
                    >
                      <IconTrash size={17} />
                    </ActionIcon>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
    </section>
  );
}

function Invitations() {
  const invite = useMutation({
    mutationFn: api.invite,
    onError: error => showProblem(error, 'The invitation was not made'),
  });
  return (
    <section className={classes.panel} aria-labelledby="invitations">
      <Title order={2} id="invitations" mb={4}>
        Invitations
      </Title>
      <Text size="sm" c="dimmed" mb="md">
        Each lets one person sign up, also where sign-up is by invitation only.
      </Text>
      <Button
        variant="light"
        leftSection={<IconUserPlus size={17} />}
        loading={invite.isPending}
        onClick={() => invite.mutate()}
      >
        Make an invitation
      </Button>
      {invite.data && (
        <Secret
          label={`Pass this address on. It ends ${moment(invite.data.expires_at)}.`}
          value={`${window.location.origin}/sign-up?${new URLSearchParams({ invitation: invite.data.code })}`}
        />
      )}
    </section>
  );
}

function Secret({ label, value }: { label: string; value: string }) {
  return (
    <Alert color="grain" variant="light" mt="md" title={label} role="status">
      <Group wrap="nowrap" gap="xs">
        <Code style={{ overflowWrap: 'anywhere' }}>{value}</Code>
        <CopyButton value={value}>
          {({ copied, copy }) => (
            <Tooltip label={copied ? 'Copied' : 'Copy'}>
              <ActionIcon variant="subtle" color="grain" onClick={copy} aria-label="Copy">
                {copied ? <IconCheck size={17} /> : <IconCopy size={17} />}
              </ActionIcon>
            </Tooltip>
          )}
        </CopyButton>
      </Group>
    </Alert>
  );
}
