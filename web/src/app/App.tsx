/** Providers and routes. Pages that few visits need are loaded when they are opened. */
import { localStorageColorSchemeManager, MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClientProvider } from '@tanstack/react-query';
import { useState } from 'react';
import { createBrowserRouter, type RouteObject } from 'react-router';
import { RouterProvider } from 'react-router/dom';
import { createQueryClient } from '../api/queries';
import { PageLoading } from '../components/PageLoading';
import { Home } from '../pages/Home';
import { NotFound } from '../pages/NotFound';
import { PageCrash } from '../pages/PageCrash';
import { Watch } from '../pages/Watch';
import { RequireAccount } from './RequireAccount';
import { Shell } from './Shell';
import { cssVariablesResolver, theme } from './theme';

export const routes: RouteObject[] = [
  {
    element: <Shell />,
    hydrateFallbackElement: <PageLoading />,
    children: [
      {
        errorElement: <PageCrash />,
        children: [
          { path: '/', element: <Home /> },
          { path: '/watch/:id', element: <Watch /> },
          { path: '/search', lazy: async () => ({ Component: (await import('../pages/Search')).Search }) },
          { path: '/channel/:id', lazy: async () => ({ Component: (await import('../pages/Channel')).Channel }) },
          { path: '/sign-in', lazy: async () => ({ Component: (await import('../pages/SignIn')).SignIn }) },
          { path: '/sign-up', lazy: async () => ({ Component: (await import('../pages/SignUp')).SignUp }) },
          {
            element: <RequireAccount />,
            children: [
              { path: '/account', lazy: async () => ({ Component: (await import('../pages/Account')).Account }) },
              { path: '/upload', lazy: async () => ({ Component: (await import('../pages/Upload')).Upload }) },
              { path: '/studio', lazy: async () => ({ Component: (await import('../pages/Studio')).Studio }) },
              {
                path: '/studio/:id',
                lazy: async () => ({ Component: (await import('../pages/StudioVideo')).StudioVideo }),
              },
            ],
          },
          { path: '*', element: <NotFound /> },
        ],
      },
    ],
  },
];

const colorScheme = localStorageColorSchemeManager({ key: 'millrace.theme' });

export function App() {
  const [client] = useState(createQueryClient);
  const [router] = useState(() => createBrowserRouter(routes));
  return (
    <MantineProvider
      theme={theme}
      cssVariablesResolver={cssVariablesResolver}
      defaultColorScheme="auto"
      colorSchemeManager={colorScheme}
    >
      <QueryClientProvider client={client}>
        <Notifications position="bottom-right" />
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  );
}
