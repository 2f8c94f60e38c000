import { Center, VisuallyHidden } from '@mantine/core';
import { Wheel } from './Wheel';

export function PageLoading() {
  return (
    <Center mih="50vh" role="status">
      <Wheel size={56} turning />
      <VisuallyHidden>Loading</VisuallyHidden>
    </Center>
  );
}
