/* Replaces the live parts of the page by what they have become. Without it there are links that load the page again. */
const PAUSE_MS = 4_000;
const parts = [...document.querySelectorAll('[data-live]')];
const shown = new Map(parts.map((part) => [part.id, part.innerHTML]));

/** Leaves a part alone while somebody is in it. */
function isInUse(part) {
  const selection = getSelection();
  return part.contains(document.activeElement) || (!selection.isCollapsed && part.contains(selection.anchorNode));
}

function replace(part, fresh) {
  const open = [...part.querySelectorAll('details[open][id]')].map(({ id }) => id);
  shown.set(part.id, fresh.innerHTML);
  part.replaceChildren(...fresh.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute('open', '');
}

/** Returns false when nobody is signed in any more. */
async function update() {
  const response = await fetch(location.pathname, { headers: { Accept: 'text/html' } });
  if (!response.ok) return true;
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  if (page.querySelector('[data-live]') === null) return false;
  for (const part of parts) {
    const fresh = page.getElementById(part.id);
    if (fresh !== null && fresh.innerHTML !== shown.get(part.id) && !isInUse(part)) replace(part, fresh);
  }
  return true;
}

async function keepUpdating() {
  // The service may be away for a while.
  const goOn = document.hidden || (await update().catch(() => true));
  if (goOn) setTimeout(keepUpdating, PAUSE_MS);
}

for (const link of document.querySelectorAll('[data-refresh]')) link.replaceWith('Updates by itself.');
setTimeout(keepUpdating, PAUSE_MS);
