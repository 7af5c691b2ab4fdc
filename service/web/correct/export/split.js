// Divide the corrected images into a training and a validation set.

const EVERY = 5; // one image in five is for validation

/**
 * Return {train, val}: lists of the given images, in their order.
 *
 * images: [{content, labels}]. Images with the same `content` stay in one set. labels: a Set of the labels of the boxes.
 * Every label stays in `train`, so that training learns it. `val` is empty if no image can be spared.
 */
export function split(images) {
  const groups = [...Map.groupBy(images, ({ content }) => content).values()];
  const remaining = new Map(); // by label: number of groups in train
  const labelsOf = (group) => new Set(group.flatMap(({ labels }) => [...labels]));
  for (const group of groups) for (const label of labelsOf(group)) remaining.set(label, (remaining.get(label) ?? 0) + 1);
  const wanted = Math.max(1, Math.round(groups.length / EVERY));
  const val = new Set();
  for (const group of inOrder(groups)) {
    const labels = [...labelsOf(group)];
    if (val.size === wanted || !labels.length || labels.some((label) => remaining.get(label) < 2)) continue;
    for (const label of labels) remaining.set(label, remaining.get(label) - 1);
    val.add(group);
  }
  const inVal = new Set([...val].flat());
  return { train: images.filter((image) => !inVal.has(image)), val: images.filter((image) => inVal.has(image)) };
}

/** Every fifth group first, which spreads the validation set over the images; then the others. */
function inOrder(groups) {
  const isFirst = (_, index) => index % EVERY === EVERY - 1;
  return [...groups.filter(isFirst), ...groups.filter((group, index) => !isFirst(group, index))];
}
