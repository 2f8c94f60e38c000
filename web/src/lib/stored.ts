/** Small settings kept in the browser; a browser that forbids storage just forgets them. */
export function readSetting(name: string): string | null {
  try {
    return window.localStorage.getItem(`millrace.${name}`);
  } catch {
    return null;
  }
}

export function writeSetting(name: string, value: string): void {
  try {
    window.localStorage.setItem(`millrace.${name}`, value);
  } catch {
    // See above.
  }
}
