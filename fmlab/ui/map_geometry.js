// Keeps the bytes of geometries in the browser, where every map of the page finds them by their digest.
// In: the bytes of `geometry_blob`. Out: an entry in `window.fmlabGeometries`; nothing on the page.

const KEPT = 4; // geometries: a person goes back and forth between a few backbones

export default function ({ data, parentElement }) {
  const container = (parentElement.host ?? parentElement).closest('[data-testid="stElementContainer"]');
  if (container) container.style.display = "none";
  const registry = (window.fmlabGeometries ??= { blobs: new Map(), waiting: new Set() });
  const digest = new TextDecoder().decode(data.subarray(8, 40));
  // A copy of its own: the bytes that are handed over lie somewhere inside a message, at no multiple of four.
  const bytes = registry.blobs.get(digest) ?? data.slice();
  registry.blobs.delete(digest);
  registry.blobs.set(digest, bytes);
  while (registry.blobs.size > KEPT) registry.blobs.delete(registry.blobs.keys().next().value);
  for (const look of [...registry.waiting]) look();
}
