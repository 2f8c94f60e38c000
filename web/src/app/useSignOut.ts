import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from 'react-router';
import { api } from '../api/client';
import { showProblem } from '../components/notify';

/** Ends the session and forgets what was shown to its account. */
export function useSignOut() {
  const client = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: api.signOut,
    onSuccess: async () => {
      await navigate('/');
      client.setQueryData(['me'], null);
      client.removeQueries({
        predicate: query => query.queryKey[0] !== 'me' && query.queryKey[0] !== 'instance' && !query.isActive(),
      });
      await client.invalidateQueries({ predicate: query => query.queryKey[0] !== 'me' });
    },
    onError: error => showProblem(error, 'Signing out failed'),
  });
}
