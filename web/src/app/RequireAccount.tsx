/** Lets signed-in visitors through and sends the others to sign in, from where they come back. */
import { useQuery } from '@tanstack/react-query';
import { Navigate, Outlet, useLocation } from 'react-router';
import { queries } from '../api/queries';
import { PageLoading } from '../components/PageLoading';
import { ProblemNotice } from '../components/ProblemNotice';

export function RequireAccount() {
  const me = useQuery(queries.me());
  const { pathname, search } = useLocation();
  if (me.isError) return <ProblemNotice error={me.error} onRetry={() => void me.refetch()} />;
  if (me.data === undefined) return <PageLoading />;
  if (me.data === null) return <Navigate to="/sign-in" replace state={{ next: pathname + search }} />;
  return <Outlet />;
}
