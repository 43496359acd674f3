// Added to pages by `dockless dev`, and by nothing else: loads them again when another build is online, and shows what
// a build died of.
(() => {
  const mine = Number(document.currentScript.dataset.generation);
  const isPage = document.currentScript.dataset.page === 'broken';
  let box;
  const hide = () => {
    box?.remove();
    box = undefined;
  };
  const show = (message) => {
    if (isPage) {
      document.querySelector('pre').textContent = message;
      return;
    }
    hide();
    box = document.createElement('div');
    const root = box.attachShadow({ mode: 'closed' });
    root.innerHTML = `<style>
      div { position: fixed; inset: 0; z-index: 2147483647; overflow: auto; background: rgba(0, 0, 0, .8); color: #fff;
        padding: 5vmin; font: 15px/1.5 ui-monospace, monospace; box-sizing: border-box }
      h1 { font: bold 18px system-ui, sans-serif; color: #ff7b72 }
      pre { white-space: pre-wrap; overflow-wrap: anywhere }
      button { float: right; font: inherit; color: inherit; background: none; border: 1px solid; cursor: pointer }
    </style><div role="alert"><button>close</button><h1>The build failed</h1><pre></pre>
    <p>This page is of the last build that did not.</p></div>`;
    root.querySelector('pre').textContent = message;
    root.querySelector('button').addEventListener('click', hide);
    document.documentElement.append(box);
  };
  const events = new EventSource('/_dockless/events');
  events.addEventListener('ready', ({ data }) => {
    if (JSON.parse(data).generation !== mine) location.reload();
    else hide();
  });
  events.addEventListener('broken', ({ data }) => {
    const { generation, message } = JSON.parse(data);
    if (generation !== mine) location.reload();
    else show(message);
  });
  addEventListener('pagehide', () => events.close());
})();
