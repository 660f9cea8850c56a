/** Makes what loads something when it is first asked for, once; afterwards it is there at once. */
export function late<T extends object>(load: () => Promise<T>): () => T | Promise<T> {
  let loaded: T | Promise<T> | null = null;
  return () => {
    if (loaded === null) {
      const loading = load();
      loaded = loading;
      loading.then(
        (value) => (loaded = value),
        // Asked for again, it is tried again.
        () => (loaded = null),
      );
    }
    return loaded;
  };
}
