/** What surrounds every page: skip link, header, phone tabs, footer; moves focus and scroll when the page changes. */
import {
  ActionIcon,
  Anchor,
  Button,
  Menu,
  Tooltip,
  useComputedColorScheme,
  useMantineColorScheme,
} from '@mantine/core';
import {
  IconChartBar,
  IconHome,
  IconLogin2,
  IconLogout,
  IconMoon,
  IconSettings,
  IconSun,
  IconUpload,
  IconUser,
} from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import { Link, NavLink, Outlet, ScrollRestoration, useLocation } from 'react-router';
import { queries, useMe } from '../api/queries';
import { Avatar } from '../components/Avatar';
import { Wheel } from '../components/Wheel';
import { SearchBox } from './SearchBox';
import classes from './Shell.module.css';
import { useSignOut } from './useSignOut';

export function Shell() {
  const { pathname } = useLocation();
  const main = useRef<HTMLElement>(null);
  const shown = useRef(pathname);
  useEffect(() => {
    // A new page begins where a reader of the screen expects it, not at the link that led there. A page
    // that put the focus into a field of its own keeps it.
    const placed = main.current?.contains(document.activeElement) ?? false;
    if (shown.current !== pathname && !placed) main.current?.focus({ preventScroll: true });
    shown.current = pathname;
  }, [pathname]);

  return (
    <>
      <a className={classes.skip} href="#content">
        Skip to content
      </a>
      <header className={classes.header}>
        <div className={classes.bar}>
          <Link to="/" className={classes.brand} aria-label="Millrace, home">
            <Wheel size={32} />
            <span className={classes.word}>millrace</span>
          </Link>
          <SearchBox />
          <div className={classes.actions}>
            <ThemeSwitch />
            <AccountMenu />
          </div>
        </div>
      </header>
      <main id="content" ref={main} tabIndex={-1} className={classes.main}>
        <Outlet />
      </main>
      <Footer />
      <PhoneTabs />
      <ScrollRestoration />
    </>
  );
}

function ThemeSwitch() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  const other = scheme === 'dark' ? 'light' : 'dark';
  return (
    <Tooltip label={`Switch to the ${other} theme`}>
      <ActionIcon
        variant="subtle"
        color="gray"
        size={38}
        aria-label={`Switch to the ${other} theme`}
        onClick={() => setColorScheme(other)}
      >
        {scheme === 'dark' ? <IconSun size={20} /> : <IconMoon size={20} />}
      </ActionIcon>
    </Tooltip>
  );
}

function AccountMenu() {
  const me = useMe();
  const signOut = useSignOut();
  if (me === undefined) return null;
  if (me === null) {
    return (
      <Button
        component={Link}
        to="/sign-in"
        size="sm"
        variant="light"
        leftSection={<IconLogin2 size={17} />}
        className={classes.wide}
      >
        Sign in
      </Button>
    );
  }
  return (
    <>
      <Button component={Link} to="/studio" variant="subtle" size="sm" className={classes.wide}>
        Studio
      </Button>
      <Button component={Link} to="/upload" size="sm" leftSection={<IconUpload size={17} />} className={classes.wide}>
        Upload
      </Button>
      <Menu position="bottom-end" width={230} shadow="md">
        <Menu.Target>
          <ActionIcon variant="transparent" size={40} radius="xl" aria-label={`Account of ${me.channel.name}`}>
            <Avatar channel={me.channel} size={34} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>{me.channel.name}</Menu.Label>
          <Menu.Item component={Link} to={`/channel/${me.channel.id}`} leftSection={<IconUser size={16} />}>
            My channel
          </Menu.Item>
          <Menu.Item component={Link} to="/studio" leftSection={<IconChartBar size={16} />}>
            Studio
          </Menu.Item>
          <Menu.Item component={Link} to="/account" leftSection={<IconSettings size={16} />}>
            Account
          </Menu.Item>
          <Menu.Divider />
          <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => signOut.mutate()}>
            Sign out
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </>
  );
}

function PhoneTabs() {
  const me = useMe();
  const tabs = [
    { to: '/', label: 'Home', icon: IconHome },
    { to: '/upload', label: 'Upload', icon: IconUpload },
    { to: '/studio', label: 'Studio', icon: IconChartBar },
    { to: me ? '/account' : '/sign-in', label: me ? 'Account' : 'Sign in', icon: IconUser },
  ];
  return (
    <nav className={classes.tabs} aria-label="Main">
      {tabs.map(({ to, label, icon: Icon }) => (
        <NavLink key={label} to={to} end={to === '/'} className={classes.tab}>
          <Icon size={22} stroke={1.7} aria-hidden />
          {label}
        </NavLink>
      ))}
    </nav>
  );
}

function Footer() {
  const instance = useQuery(queries.instance()).data;
  return (
    <footer className={classes.footer}>
      {instance?.name ?? 'Millrace'}
      {instance && ` · version ${instance.version}`} ·{' '}
      <Anchor href="/api/openapi.json" inherit c="inherit" underline="always">
        API
      </Anchor>
    </footer>
  );
}
