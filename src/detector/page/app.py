"""The page itself, in Gradio, and the application that is served."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from html import escape
from pathlib import Path

from detector.data.decode import decode
from detector.page.api import Api
from detector.page.drawing import page_of, standing
from detector.page.examples import Example, render_examples
from detector.page.forms import clean_name
from detector.page.guard import Guard
from detector.page.heat import data_uri
from detector.page.judge import TRAIN, Judgement, plain
from detector.page.networks import Networks
from detector.page.receive import Refused, megabytes
from detector.page.sessions import forget

EXPIRED = "This upload is no longer here: send the picture again."
NAMELESS = "This upload"
WAITING = '<p class="d-page waiting">Looking at {name} …</p>'
Step = tuple[str, Callable[[], Awaitable[str]]]  # a name, and how its answer is got
# A screen reader says the name and the verdict of what has just appeared, not all of it again.
READY_JS = """() => {
  const answers = document.querySelector('#answers');
  answers.setAttribute('role', 'region');
  answers.setAttribute('aria-label', 'Answers');
  const status = document.createElement('p');
  status.id = 'status';
  status.setAttribute('role', 'status');
  answers.before(status);
  new MutationObserver(() => {
    const latest = [...answers.querySelectorAll('.judgement')].pop();
    const said = latest ? [...latest.querySelectorAll('h2, .headline')] : [];
    const text = [...said, ...answers.querySelectorAll('.waiting')].map(
      one => one.textContent.trim()).join(': ');
    if (text !== status.textContent) status.textContent = text;
  }).observe(answers, {childList: true, subtree: true, characterData: true});
  // With one name arrow keys go from one to the next; Gradio gives each its own, again and again.
  const network = document.querySelector('#network');
  const join = () => network.querySelectorAll('input:not([name=network])').forEach(
    one => { one.name = 'network'; });
  if (network) {
    join();
    new MutationObserver(join).observe(
      network, {subtree: true, childList: true, attributeFilter: ['name']});
  }
  document.documentElement.lang = 'en';
}"""


def build(api: Api) -> Guard:
    """The whole application, for an ASGI server.

    Args:
        api: Addresses for programs; the page asks through it, too.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    import gradio as gr
    from fastapi import FastAPI

    blocks = Page(api).blocks()
    blocks.max_threads = api.desk.most  # else 40 that wait would keep all others from their turn
    blocks.queue(max_size=api.desk.most, default_concurrency_limit=api.desk.most)
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        outer,
        blocks,
        path="/",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Base(
            primary_hue="blue",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css=(Path(__file__).parent / "style.css").read_text(encoding="utf-8"),
    )
    for route in outer.routes:
        if isinstance(getattr(route, "app", None), gr.routes.App):
            forget(route.app, blocks)
    return Guard(outer, api)


class Page:
    """What stands where, and what happens when.

    Args:
        api: Through which pictures are judged.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.networks: Networks = api.networks
        first = self.networks.first
        self.examples: list[Example] = []
        if self.networks.demonstration:
            self.examples = render_examples(first.size if first else 224)

    def blocks(self) -> object:
        """The page as Gradio's Blocks."""
        import gradio as gr

        with gr.Blocks(title="Real or fake face?", analytics_enabled=False) as page:
            gr.HTML(self._head(), padding=False)
            # Inputs that the browser has itself: Gradio's Dropdown takes keys a moment late, and
            # Enter followed at once by Tab would lose the choice.
            network = gr.Radio(
                [(one.label, one.key) for one in self.networks.all.values()],
                value=self.networks.first.key if self.networks.first else None,
                label="Network",
                visible=bool(self.networks.all),
                elem_id="network",
            )
            upload = gr.File(
                label=f"Pictures: JPEG, PNG or WebP, up to {megabytes(self.api.max_bytes)} each",
                file_count="multiple",
                file_types=["image"],
                height=180,
                elem_id="upload",
            )
            # Its files are in memory here, not paths for Gradio to look at.
            schema = upload.api_info()
            upload.data_model, upload._api_info_cache = None, schema
            buttons = self._examples()
            answers = gr.HTML(elem_id="answers", padding=False)
            gr.HTML(standing(), padding=False)
            upload.upload(
                self._dropped(), [upload, network], [answers, upload],
                preprocess=False, show_progress="minimal", trigger_mode="multiple",
                api_visibility="private",
            )  # fmt: skip
            for button, example in zip(buttons, self.examples, strict=True):
                button.click(
                    self._clicked(example), [network], [answers],
                    show_progress="minimal", api_visibility="private",
                )  # fmt: skip
            gr.api(self._predict(), api_name="predict")
            page.load(None, js=READY_JS)
        return page

    def _head(self) -> str:
        demonstration = ""
        if self.networks.demonstration:
            why = (
                "No network on this machine has been trained on photographs."
                if self.networks.all
                else "There is no trained network on this machine."
            )
            demonstration = (
                f'<p class="demo"><b>Demonstration.</b> {why} The faces below are rendered; of'
                f" photographs there is no verdict. {TRAIN.replace(chr(34), '&quot;')}</p>"
            )
        return (
            '<header class="d-page"><h1>Real or fake face?</h1><p>Drop a picture of a face. The'
            " answer says how often pictures that were scored alike were fake. Nothing leaves this"
            f" machine, and no picture is kept after the answer.</p>{demonstration}</header>"
        )

    def _examples(self) -> list:
        import gradio as gr

        buttons = []
        if not self.examples:
            return buttons
        with gr.Row(elem_classes="examples"):
            for at, example in enumerate(self.examples, 1):
                with gr.Column(min_width=92, scale=1):
                    shown = data_uri(
                        decode(example.jpeg, max_pixels=self.api.options.max_pixels), 160
                    )
                    gr.HTML(f'<img src="{shown}" alt="Rendered face {at}">', padding=False)
                    buttons.append(gr.Button(f"Example {at}", size="sm"))
        return buttons

    # Gradio, which is imported late, knows by the annotation that a function wants the request.

    def _dropped(self) -> Callable:
        import gradio as gr

        async def dropped(
            payload: object, network: str | None, request: gr.Request
        ) -> AsyncIterator[tuple]:
            listed = _listed(payload, self.api.max_files)
            steps = [(_name(given), partial(self._file, given, network)) for given in listed]
            try:
                async with aclosing(self._shown(steps, request)) as shown:
                    async for html in shown:
                        yield html, None
            finally:
                for given in listed:  # those that were not looked at
                    self.api.uploads.drop(_token(given))

        return dropped

    def _clicked(self, example: Example) -> Callable:
        import gradio as gr

        async def clicked(network: str | None, request: gr.Request) -> AsyncIterator[str]:
            data, name, truth = example.jpeg, example.name, example.truth
            step = partial(self._judged, data, name, network, page_of, truth)
            async with aclosing(self._shown([(name, step)], request)) as shown:
                async for html in shown:
                    yield html

        return clicked

    def _predict(self) -> Callable:
        import gradio as gr

        async def predict(picture: dict, request: gr.Request, network: str | None = None) -> dict:
            """For gradio_client: what POST /api/predict answers.

            Args:
                picture: `gradio_client.handle_file(path)`.
                network: A key of /api/networks; None takes the first.
            """
            answer = {"file": "", "error": EXPIRED}
            try:
                with self.api.desk.place(_address(request)):
                    if await self.api.sessions.heard(request.session_hash):
                        answer = await self._file(picture, network or None, plain)
            except Refused as refused:
                answer = {"file": "", "error": refused.message}
            finally:
                self.api.uploads.drop(_token(picture))
            return answer

        return predict

    async def _shown(self, steps: Sequence[Step], request: object) -> AsyncIterator[str]:
        """Answers one after the other, all that there are each time."""
        try:
            with self.api.desk.place(_address(request)):
                if not await self.api.sessions.heard(request.session_hash):
                    return
                with self.api.sessions.run(request.session_hash) as run:
                    for name, step in steps:
                        if run.later is not None:
                            break
                        yield run.html + WAITING.format(name=escape(name))
                        run.html += await step()
                    yield await run.last()
        except Refused as refused:
            yield page_of(Judgement(NAMELESS, refused.message))

    async def _file(
        self, given: object, network: str | None, shape: Callable[[Judgement], object] = page_of
    ) -> object:
        """What is said of one upload, which is forgotten by that."""
        upload = self.api.uploads.take(_token(given))
        if upload is None:
            return shape(Judgement(_name(given), EXPIRED))
        try:
            if upload.error:  # without a name where all of an upload was refused
                return shape(Judgement(upload.name or NAMELESS, upload.error))
            return await self._judged(upload.data, upload.name, network, shape)
        finally:
            self.api.uploads.release(upload)

    async def _judged(
        self,
        data: bytes,
        name: str,
        network: str | None,
        shape: Callable[[Judgement], object],
        truth: str = "",
    ) -> object:
        try:
            return await self.api.judged(data, name, network, shape, rendered=truth)
        except Refused as refused:
            return shape(Judgement(name, refused.message))


def _listed(payload: object, most: int) -> list:
    given = payload if isinstance(payload, list) else [payload] if payload else []
    return given[:most]


def _name(given: object) -> str:
    name = given.get("orig_name") if isinstance(given, dict) else None
    return clean_name(name) if isinstance(name, str) else NAMELESS


def _token(given: object) -> str:
    token = given.get("path") if isinstance(given, dict) else None
    return token if isinstance(token, str) else ""


def _address(request: object) -> str:
    return request.client.host if request.client else ""
