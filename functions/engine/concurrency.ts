/** How is much work done without drowning? */

/** Maps with at most `limit` calls under way; answers are in the order of the items. The first throw ends it. */
export async function mapLimited<Item, Answer>(
  items: Item[],
  limit: number,
  work: (item: Item) => Promise<Answer>,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  const waiting = items.entries();
  const worker = async (): Promise<void> => {
    for (const [i, item] of waiting) answers[i] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return answers;
}
