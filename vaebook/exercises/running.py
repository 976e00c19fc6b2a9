"""Appeler la fonction du lecteur dans son noyau, avec une limite de temps, et tout remettre en place."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AGAIN = 0.1  # secondes : l'alarme sonne encore si un « except: » nu l'a avalée


class TimeUp(BaseException):
    """La limite de temps est passée. Pas une `Exception` : celle du lecteur ne doit pas l'attraper."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrompt par `TimeUp` ce qui dure plus de `seconds` secondes.

    Sur le fil principal d'un système qui a ``setitimer`` (Linux, macOS, Colab), une alarme interrompt même
    une attente. Ailleurs (Windows, un autre fil), un minuteur lève l'exception dans le fil qui travaille,
    entre deux instructions de Python : une boucle s'arrête, une attente seulement à sa fin. Dans les deux
    cas, une opération de torch déjà lancée va d'abord à son terme.

    Lève :
        TimeUp : la limite est passée.
    """
    main = threading.current_thread() is threading.main_thread()
    with _alarm(seconds) if main and hasattr(signal, "setitimer") else _watchdog(seconds):
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    armed, rings, trace = True, 0, sys.gettrace()

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rings
        rings += 1
        if rings > 1:  # avalée : que la prochaine ligne, celle du « except: », la relance
            sys.settrace(stop)
            while frame is not None and not str(frame.f_globals.get("__name__")).startswith(__package__):
                frame.f_trace = stop
                frame = frame.f_back
        if armed:
            raise TimeUp

    def stop(frame: FrameType, event: str, argument: Any) -> Any:
        if armed and event == "line":
            raise TimeUp
        return stop

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if rings > 1:
            sys.settrace(trace)
        if left:  # une alarme du lecteur courait déjà
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3), interval)


@contextmanager
def _watchdog(seconds: float) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())
    lock, done = threading.Lock(), threading.Event()

    def watch() -> None:
        pause = seconds
        while not done.wait(pause):
            with lock:
                if not done.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeUp))
            pause = AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        try:
            with lock:
                done.set()
            for _ in range(1000):  # une exception déjà lancée arrive ici, et non chez l'appelant
                pass
        except TimeUp:
            done.set()
        watcher.join()


@contextmanager
def state_kept() -> Iterator[None]:
    """Travaille en double précision, sur le processeur, puis rend à torch son état.

    L'état, c'est le générateur, le type par défaut, l'appareil par défaut et l'enregistrement des gradients.
    """
    import torch

    dtype, gradient = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(True)
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradient)
