import { Button, Text, Title } from '@mantine/core';
import { IconMovie } from '@tabler/icons-react';
import { type DragEvent, useRef, useState } from 'react';
import classes from './DropZone.module.css';

interface DropZoneProps {
  hint: string;
  onFiles: (files: File[]) => void;
}

/** Takes video files by drop or by the browser's file dialog. */
export function DropZone({ hint, onFiles }: DropZoneProps) {
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    onFiles([...event.dataTransfer.files]);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping is the pointer's way; the button is everyone's
    <div
      className={classes.zone}
      data-over={over || undefined}
      onDragOver={event => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <IconMovie size={46} stroke={1.3} color="var(--mr-accent)" aria-hidden />
      <Title order={2}>Drop videos here</Title>
      <Text c="dimmed" size="sm">
        {hint}
      </Text>
      <Button mt="xs" variant="light" onClick={() => input.current?.click()}>
        Choose files
      </Button>
      <input
        ref={input}
        type="file"
        hidden
        multiple
        accept="video/*,.mkv,.mts,.m2ts,.avi,.mov,.webm"
        aria-label="Video files"
        onChange={event => {
          onFiles([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = '';
        }}
      />
    </div>
  );
}
