import { Button, Group, Modal, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api } from '../api/client';
import { forgetVideo } from '../api/queries';
import type { Video } from '../api/types';
import { showDone } from '../components/notify';
import { ProblemNotice } from '../components/ProblemNotice';

interface DialogProps {
  video: Pick<Video, 'id' | 'title'>;
  onClose: () => void;
  /** Leaves what shows the video. */
  onDeleted?: () => void | Promise<void>;
}

export function DeleteDialog({ video, onClose, onDeleted }: DialogProps) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => api.deleteVideo(video.id),
    onSuccess: async () => {
      showDone('Deleted');
      onClose();
      await onDeleted?.();
      forgetVideo(client, video.id);
    },
  });
  return (
    <Modal opened onClose={onClose} title="Delete video" centered>
      <Text>“{video.title}” is deleted with everything that was made of it. This can’t be undone.</Text>
      {remove.isError && <ProblemNotice error={remove.error} />}
      <Group justify="flex-end" mt="lg">
        <Button variant="default" onClick={onClose} data-autofocus>
          Keep it
        </Button>
        <Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>
          Delete
        </Button>
      </Group>
    </Modal>
  );
}
