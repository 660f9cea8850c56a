/** How are a log's table and a value in it written? They go into the text of a query, so nothing else may pass. */

/** `PROJECT.DATASET.TABLE`; a project may have the old form `example.com:project`. */
export const requestLogTable =
  /^(?:[a-z0-9.-]{1,63}:)?[a-z][a-z0-9-]{0,62}\.[A-Za-z0-9_]{1,256}\.[A-Za-z0-9_-]{1,256}$/;

/** `instances.distance` or `predictions.0`: the list, then keys and indices of its elements. */
export const requestLogValue = /^(instances|predictions)((?:\.(?:[A-Za-z_][A-Za-z0-9_-]{0,127}|\d{1,6}))*)$/;
