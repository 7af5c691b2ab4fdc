// Archives of corrected images: one image with its annotation, or a data set that `boxwright finetune` accepts.

import { crc32 } from "./crc32.js";
import { suffixOf, uniqueStems } from "./file_names.js";
import { split } from "./split.js";
import { annotationXml } from "./voc_xml.js";
import { zip } from "./zip.js";

/** Return {blob, stem}: an archive with the image and its XML side by side, as LabelImg stores them. file: with a correction. */
export async function imageArchive(file) {
  const [sample] = await samplesOf([file]);
  return { blob: zip([{ ...sample.image, path: sample.filename }, { ...sample.xml, path: `${sample.stem}.xml` }]), stem: sample.stem };
}

/** Return {blob, train, val}: a data set in VOC layout, and the number of images in each set. Without `val` images, there is no list val.txt. */
export async function datasetArchive(files) {
  const samples = await samplesOf(files);
  const sets = split(samples);
  const lists = Object.entries(sets).filter(([, members]) => members.length);
  const entries = [
    ...samples.map(({ image, filename }) => ({ ...image, path: `JPEGImages/${filename}` })),
    ...samples.map(({ xml, stem }) => ({ ...xml, path: `Annotations/${stem}.xml` })),
    ...lists.map(([name, members]) => ({ ...textEntry(members.map(({ stem }) => `${stem}\n`).join("")), path: `ImageSets/Main/${name}.txt` })),
  ];
  return { blob: zip(entries), train: sets.train.length, val: sets.val.length };
}

/** Images are read one after another, so that only one is in memory. */
async function samplesOf(files) {
  const stems = uniqueStems(files.map(({ name }) => name));
  const samples = [];
  for (const [index, { name, file, correction }] of files.entries()) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const stem = stems[index];
    const filename = stem + suffixOf(name, bytes);
    const image = { blob: file, crc: crc32(bytes) }; // the original bytes
    samples.push({
      stem,
      filename,
      image,
      xml: textEntry(annotationXml(filename, correction.size, correction.boxes)),
      content: `${image.crc} ${file.size}`,
      labels: new Set(correction.boxes.map(({ label }) => label)),
    });
  }
  return samples;
}

function textEntry(text) {
  const bytes = new TextEncoder().encode(text);
  return { blob: new Blob([bytes]), crc: crc32(bytes) };
}
