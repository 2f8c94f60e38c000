/** The search field of the header; "/" puts the cursor into it from anywhere. */
import { ActionIcon, TextInput } from '@mantine/core';
import { useHotkeys } from '@mantine/hooks';
import { IconSearch, IconX } from '@tabler/icons-react';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { useLocation, useNavigate, useSearchParams } from 'react-router';
import classes from './SearchBox.module.css';

export function SearchBox() {
  const [params] = useSearchParams();
  const { pathname } = useLocation();
  const navigate = useNavigate();
  const field = useRef<HTMLInputElement>(null);
  const searched = pathname === '/search' ? (params.get('q') ?? '') : '';
  const [text, setText] = useState(searched);
  useEffect(() => setText(searched), [searched]);

  useHotkeys([
    [
      '/',
      () => {
        field.current?.focus();
        field.current?.select();
      },
    ],
  ]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const q = text.trim();
    if (q === '') return;
    field.current?.blur();
    void navigate(`/search?${new URLSearchParams({ q })}`);
  };

  const clear = () => {
    setText('');
    field.current?.focus();
  };

  return (
    <search className={classes.form}>
      <form onSubmit={submit}>
        <TextInput
          ref={field}
          type="text"
          inputMode="search"
          enterKeyHint="search"
          name="q"
          value={text}
          onChange={event => setText(event.currentTarget.value)}
          onKeyDown={event => event.key === 'Escape' && field.current?.blur()}
          placeholder="Search"
          aria-label="Search videos"
          aria-keyshortcuts="/"
          autoComplete="off"
          maxLength={200}
          radius="xl"
          size="sm"
          classNames={{ input: classes.input }}
          leftSection={<IconSearch size={17} aria-hidden />}
          rightSectionWidth={40}
          rightSection={
            text === '' ? (
              <kbd className={classes.key} aria-hidden>
                /
              </kbd>
            ) : (
              <ActionIcon variant="subtle" color="gray" radius="xl" aria-label="Clear the search" onClick={clear}>
                <IconX size={16} />
              </ActionIcon>
            )
          }
        />
      </form>
    </search>
  );
}
