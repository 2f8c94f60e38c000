import { Button, Group, Modal } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api } from '../api/client';
import { asProblem, fieldErrors } from '../api/problem';
import { applyVideo, queries } from '../api/queries';
import type { Video } from '../api/types';
import { showDone } from '../components/notify';
import { ProblemNotice } from '../components/ProblemNotice';
import { DetailsFields } from '../upload/DetailsFields';
import type { UploadDetails } from '../upload/store';

interface DialogProps {
  video: Video;
  onClose: () => void;
}

/** Changes what a video says about itself; a change made meanwhile elsewhere is not overwritten unseen. */
export function EditDialog({ video, onClose }: DialogProps) {
  const client = useQueryClient();
  const [base, setBase] = useState(video);
  const [details, setDetails] = useState<UploadDetails>(detailsOf(video));
  const save = useMutation({
    mutationFn: () =>
      api.editVideo(video.id, {
        title: details.title.trim(),
        description: details.description.trim(),
        tags: details.tags,
        visibility: details.visibility,
        expected_version: base.version,
      }),
    onSuccess: changed => {
      applyVideo(client, changed);
      for (const key of ['videos', 'trending', 'search']) void client.invalidateQueries({ queryKey: [key] });
      showDone('Saved');
      onClose();
    },
  });
  const reload = useMutation({
    mutationFn: () => client.fetchQuery({ ...queries.video(video.id), staleTime: 0 }),
    onSuccess: fresh => {
      setBase(fresh);
      setDetails(detailsOf(fresh));
      save.reset();
    },
  });
  const problem = save.isError ? asProblem(save.error) : null;
  const outdated = problem?.slug === 'version-mismatch';
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (details.title.trim() !== '') save.mutate();
  };

  return (
    <Modal opened onClose={onClose} title="Edit video" size="lg">
      <form onSubmit={submit}>
        {problem && problem.fields.length === 0 && (
          <ProblemNotice error={problem} onRetry={outdated ? () => reload.mutate() : undefined} />
        )}
        <DetailsFields
          value={details}
          onChange={change => setDetails(before => ({ ...before, ...change }))}
          errors={problem ? fieldErrors(problem) : {}}
        />
        <Group justify="flex-end" mt="lg">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={save.isPending} disabled={details.title.trim() === '' || outdated}>
            Save
          </Button>
        </Group>
      </form>
    </Modal>
  );
}

function detailsOf({ title, description, tags, visibility }: Video): UploadDetails {
  return { title, description, tags, visibility };
}
