/** Title, description, tags and visibility, as the upload and the studio ask for them. */
import { SegmentedControl, Stack, TagsInput, Text, Textarea, TextInput } from '@mantine/core';
import { useId } from 'react';
import type { Visibility } from '../api/types';
import type { UploadDetails } from './store';

interface DetailsFieldsProps {
  value: UploadDetails;
  onChange: (change: Partial<UploadDetails>) => void;
  errors?: Record<string, string>;
}

export const MAX_TITLE = 120;
export const MAX_DESCRIPTION = 5_000;
const MAX_TAGS = 20;
const MAX_TAG = 40;

const VISIBILITIES: { value: Visibility; label: string; meaning: string }[] = [
  { value: 'public', label: 'Public', meaning: 'Everyone can find and watch it.' },
  { value: 'unlisted', label: 'Unlisted', meaning: 'Whoever has the link can watch it.' },
  { value: 'private', label: 'Private', meaning: 'You alone can watch it.' },
];

export function DetailsFields({ value, onChange, errors = {} }: DetailsFieldsProps) {
  const id = useId();
  const meaning = VISIBILITIES.find(option => option.value === value.visibility)?.meaning;
  return (
    <Stack gap="sm">
      <TextInput
        label="Title"
        name="title"
        required
        maxLength={MAX_TITLE}
        value={value.title}
        onChange={event => onChange({ title: event.currentTarget.value })}
        error={errors.title ?? (value.title.trim() === '' ? 'A video needs a title' : undefined)}
      />
      <Textarea
        label="Description"
        name="description"
        autosize
        minRows={3}
        maxRows={12}
        maxLength={MAX_DESCRIPTION}
        value={value.description}
        onChange={event => onChange({ description: event.currentTarget.value })}
        error={errors.description}
      />
      <TagsInput
        label="Tags"
        description="Press Enter after each"
        placeholder={value.tags.length === 0 ? 'river, timelapse' : undefined}
        maxTags={MAX_TAGS}
        value={value.tags}
        onChange={tags => onChange({ tags: tags.map(tag => tag.trim().slice(0, MAX_TAG)).filter(tag => tag !== '') })}
        splitChars={[',']}
        acceptValueOnBlur
        error={errors.tags}
      />
      <div>
        <Text size="sm" fw={500} mb={4} id={id}>
          Who can watch
        </Text>
        <SegmentedControl
          fullWidth
          aria-labelledby={id}
          value={value.visibility}
          onChange={visibility => onChange({ visibility })}
          data={VISIBILITIES.map(({ value: option, label }) => ({ value: option, label }))}
        />
        <Text size="xs" c="dimmed" mt={4} aria-live="polite">
          {errors.visibility ?? meaning}
        </Text>
      </div>
    </Stack>
  );
}
