/* Adds a button to each block of code. Without it, or without a clipboard, the pages are the same. */
const said = document.createElement('p');
said.setAttribute('role', 'status');
said.className = 'said';

function addButton(block) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(block.textContent);
    said.textContent = '';
    said.textContent = 'Copied.';
    button.textContent = 'Copied';
    setTimeout(() => {
      button.textContent = 'Copy';
    }, 2_000);
  });
  const frame = document.createElement('div');
  frame.className = 'copyable';
  block.replaceWith(frame);
  frame.append(block, button);
}

if (navigator.clipboard !== undefined) {
  document.querySelectorAll('main pre').forEach(addButton);
  document.body.append(said);
}
