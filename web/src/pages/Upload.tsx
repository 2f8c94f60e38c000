/** The upload page: choose files, say what they are, send them, and see them become watchable. */
import { Button, Group, Progress, Stack, Text, Title } from '@mantine/core';
import { IconFile, IconPlayerPlayFilled, IconTrash, IconUpload } from '@tabler/icons-react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useRef } from 'react';
import { Upload as TusUpload } from 'tus-js-client';
import { queries } from '../api/queries';
import type { UnfinishedUpload } from '../api/types';
import { showProblem } from '../components/notify';
import { ProblemNotice } from '../components/ProblemNotice';
import { age, bytes } from '../lib/format';
import { usePageTitle } from '../lib/page';
import { DropZone } from '../upload/DropZone';
import { uploadProblem, uploads } from '../upload/store';
import { UploadCard } from '../upload/UploadCard';
import { useUploads } from '../upload/useUploads';
import classes from './Form.module.css';

export function Upload() {
  usePageTitle('Upload');
  const items = useUploads();
  const instance = useQuery(queries.instance()).data;
  const drafts = items.filter(item => item.phase === 'draft');
  const most = instance?.max_upload_bytes;

  const take = (files: File[]) => {
    for (const file of files) {
      const refusal = refusalOf(file, most);
      if (refusal) showProblem(new Error(refusal), file.name);
      else uploads.add(file);
    }
  };

  return (
    <Stack gap="lg" maw={860} mx="auto">
      <Title order={1}>Upload</Title>
      <DropZone
        onFiles={take}
        hint={`Most video files work${most ? `, up to ${bytes(most)} each` : ''}. A cut connection is no loss: uploads go on where they stopped.`}
      />
      {drafts.length > 1 && (
        <Button
          leftSection={<IconUpload size={17} />}
          onClick={() => {
            for (const { key } of drafts) void uploads.start(key);
          }}
        >
          Upload all {drafts.length}
        </Button>
      )}
      {[...items].reverse().map(item => (
        <UploadCard key={item.key} item={item} />
      ))}
      <Unfinished known={items.map(item => item.uploadId)} />
    </Stack>
  );
}

function refusalOf(file: File, most: number | undefined): string | null {
  if (file.size === 0) return 'The file is empty.';
  if (most !== undefined && file.size > most) return `The file has ${bytes(file.size)}; ${bytes(most)} is the most.`;
  return null;
}

/** Uploads begun earlier or on another device. */
function Unfinished({ known }: { known: (string | null)[] }) {
  const unfinished = useQuery(queries.uploads());
  if (unfinished.isError) {
    return <ProblemNotice error={unfinished.error} onRetry={() => void unfinished.refetch()} />;
  }
  const left = unfinished.data?.items.filter(upload => !known.includes(upload.id)) ?? [];
  if (left.length === 0) return null;
  return (
    <section className={classes.panel} aria-labelledby="unfinished">
      <Title order={2} id="unfinished">
        Unfinished
      </Title>
      <Text size="sm" c="dimmed" mb="md">
        Choose the same file again to go on where it stopped.
      </Text>
      <Stack gap="lg">
        {left.map(upload => (
          <UnfinishedRow key={upload.id} upload={upload} />
        ))}
      </Stack>
    </section>
  );
}

function UnfinishedRow({ upload }: { upload: UnfinishedUpload }) {
  const client = useQueryClient();
  const input = useRef<HTMLInputElement>(null);
  const percent = Math.floor((upload.offset / upload.length) * 100);
  const refresh = () => client.invalidateQueries({ queryKey: ['uploads'] });
  const discard = useMutation({
    mutationFn: () => TusUpload.terminate(`/uploads/${encodeURIComponent(upload.id)}`),
    onSuccess: refresh,
    onError: error => showProblem(uploadProblem(error)),
  });

  const take = (file: File | undefined) => {
    if (!file) return;
    if (file.size !== upload.length) {
      const wanted = `${upload.file_name} with ${bytes(upload.length)}`;
      showProblem(new Error(`${file.name} has ${bytes(file.size)}; wanted is ${wanted}.`), 'Another file');
      return;
    }
    void uploads.start(uploads.add(file, upload));
  };

  return (
    <div data-unfinished={upload.id}>
      <Group justify="space-between" gap="sm">
        <Group gap="sm" wrap="nowrap" miw={0} flex="1 1 240px">
          <IconFile size={26} stroke={1.4} aria-hidden style={{ flex: 'none' }} />
          <div style={{ minWidth: 0 }}>
            <Text fw={600} truncate>
              {upload.file_name}
            </Text>
            <Text size="sm" c="dimmed">
              {percent} % of {bytes(upload.length)} · begun {age(upload.created_at)} · kept until{' '}
              {new Date(upload.expires_at).toLocaleDateString('en', { day: 'numeric', month: 'short' })}
            </Text>
          </div>
        </Group>
        <Group gap="xs">
          <Button
            size="xs"
            variant="light"
            leftSection={<IconPlayerPlayFilled size={14} />}
            onClick={() => input.current?.click()}
          >
            Choose the same file
          </Button>
          <Button
            size="xs"
            variant="subtle"
            color="red"
            leftSection={<IconTrash size={14} />}
            loading={discard.isPending}
            onClick={() => discard.mutate()}
          >
            Discard
          </Button>
        </Group>
      </Group>
      <Progress value={percent} size="sm" mt="xs" aria-label={`${percent} percent of ${upload.file_name} sent`} />
      <input
        ref={input}
        type="file"
        hidden
        aria-label={`${upload.file_name} again`}
        onChange={event => {
          take(event.currentTarget.files?.[0]);
          event.currentTarget.value = '';
        }}
      />
    </div>
  );
}
