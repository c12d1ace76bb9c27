"""Export several things of a scene: a mesh for each, in its place, and all of them as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfast.config.layout import Layout, LayoutPart
from dfast.config.meshes import RANGES, check_mesh
from dfast.errors import ExportError
from dfast.io.exporting import exporting
from dfast.mesh import files
from dfast.mesh.density_grid import DensityField
from dfast.mesh.export import export_mesh
from dfast.mesh.gltf import Node, glb_of_nodes
from dfast.mesh.mesh import Mesh
from dfast.mesh.placing import TURNS, place
from dfast.mesh.texture import Image, Texture
from dfast.mesh.unwrap import Atlas


@dataclass(frozen=True)
class Piece:
    """The mesh of one thing, in its place in the scene."""

    name: str
    """Of the part."""
    position: tuple[float, float, float]
    """Of the part's centre, world units."""
    mesh: Mesh
    """In world axes."""


@dataclass(frozen=True)
class LayoutMesh(Mesh):
    """All things of a scene as one mesh; a GLB file of it has a node for each."""

    pieces: tuple[Piece, ...] = ()
    """The things."""

    def save(self, path: str | Path, size: float | None = None) -> Path:
        """Write the mesh to a file, see `Mesh.save`; a .glb file has a node for each thing."""
        path = files.check_mesh_path(path)
        if path.suffix.lower() != ".glb":
            return super().save(path, size)
        with exporting(path) as temporary:
            temporary.write_bytes(self._glb(size))
        return path

    def glb(self) -> bytes:
        """Return the content of the GLB file that `save` would write."""
        return self._glb(None)

    def _glb(self, size: float | None) -> bytes:
        """Return a GLB file whose nodes are at the centres of the things.

        Args:
            size: largest extent of all things, in metres; None takes a world unit as a metre.
        """
        form, scale = files.FORMATS[".glb"], 1.0
        if size is not None:
            scale = size / _extent(self)
        nodes = []
        for piece in self.pieces:
            placed = place(piece.mesh._placed(), form, scale * _extent(piece.mesh))
            where = scale * (TURNS[form.axes] @ np.array(piece.position))
            vertices = (placed.vertices - where).astype(np.float32)
            nodes.append(Node(piece.name, replace(placed, vertices=vertices), tuple(where)))
        return glb_of_nodes(nodes)


def _extent(mesh: Mesh) -> float:
    """Return the largest extent of a mesh along an axis."""
    return float(np.ptp(mesh.vertices, axis=0).max())


def export_layout(
    fields: Mapping[str, DensityField],
    layout: Layout,
    path: str | Path | None = None,
    *,
    faces: int | None = None,
    texture: int | None = None,
    vertex_colors: bool = False,
    size: float | None = None,
    **search: Any,
) -> LayoutMesh:
    """Return the surfaces of several things as a mesh, and write it to a file.

    The surface of each is searched for in its own frame, so that a small thing has as much detail
    as a large one. Faces and texels are shared out equally.

    Args:
        fields: the things by name, in their own frames.
        layout: where they are.
        path: as of `dfast.mesh.export.export_mesh`. A .glb file has a node for each thing, with its
            name and at its centre; other files hold one mesh.
        faces: face budget of all, as there.
        texture: texels a side for all, as there.
        vertex_colors: write colours at the vertices in place of textures.
        size: largest extent in the file, in metres.
        **search: the other options of `export_mesh`.

    Raises:
        ExportError: an argument that cannot be, a thing without a surface, or a file that cannot be
            written.
    """
    options = check_mesh(path, faces=faces, texture=texture, vertex_colors=vertex_colors, size=size)
    count, tiles = len(layout.parts), math.ceil(math.sqrt(len(layout.parts)))
    budget, texels = options.faces, options.texture
    if budget is not None:
        budget = max(budget // count, RANGES["faces"][0])
    if texels is not None:
        texels = max(texels // tiles, RANGES["texture"][0])
    pieces = []
    for part in layout.parts:
        try:
            mesh = export_mesh(fields[part.name], faces=budget, texture=texels, **search)
        except ExportError as error:
            raise ExportError(f"part {part.name!r}: {error}") from error
        pieces.append(Piece(part.name, part.position, _moved(mesh, part)))
    mesh = merged(pieces, tiles)
    if path is not None:
        mesh.save(path, options.size)
    return mesh


def _moved(mesh: Mesh, part: LayoutPart) -> Mesh:
    """Return the mesh of a part, found in the part's own frame, in its place in the scene."""
    angle = math.radians(part.heading)
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    vertices = mesh.vertices.astype(float) @ turn.T * part.size + part.position
    texture = mesh.texture
    if texture is not None:
        tangents = texture.tangents.copy()
        tangents[:, :3] = tangents[:, :3] @ turn.T
        texture = replace(texture, tangents=tangents)
    return replace(mesh, vertices=vertices.astype(np.float32), texture=texture)


def merged(pieces: Sequence[Piece], tiles: int) -> LayoutMesh:
    """Return several things as one mesh; their textures become the tiles of one.

    Args:
        pieces: the things.
        tiles: textures along a side of the common one.
    """
    meshes = [piece.mesh for piece in pieces]
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    textures = [mesh.texture for mesh in meshes if mesh.texture is not None]
    return LayoutMesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, first, strict=False)]),
        np.concatenate([mesh.colors for mesh in meshes]),
        texture=_tiled(textures, first, tiles) if textures else None,
        notes=tuple(f"{piece.name}: {note}" for piece in pieces for note in piece.mesh.notes),
        pieces=tuple(pieces),
    )


def _tiled(textures: Sequence[Texture], first: NDArray[np.int64], tiles: int) -> Texture:
    """Return textures side by side in one.

    Args:
        textures: of the same size.
        first: number of the first vertex of each mesh in the common one.
        tiles: textures along a side.
    """
    corners = np.cumsum([0, *(len(texture.atlas.uv) for texture in textures)])
    done = np.cumsum([0, *(len(texture.atlas.faces) for texture in textures)])
    source, faces, uv, thin = [], [], [], []
    for index, texture in enumerate(textures):
        atlas, tile = texture.atlas, np.array(divmod(index, tiles)[::-1])
        source.append(atlas.source + first[index])
        faces.append(atlas.faces + corners[index])
        uv.append(((atlas.uv + tile) / tiles).astype(np.float32))
        thin.append(atlas.thin + done[index])
    atlas = Atlas(*(np.concatenate(values) for values in (source, faces, uv, thin)))
    normals = [texture.normal for texture in textures if texture.normal is not None]
    return Texture(
        atlas,
        np.concatenate([texture.tangents for texture in textures]),
        _mosaic([texture.color for texture in textures], tiles),
        _mosaic(normals, tiles) if len(normals) == len(textures) else None,
    )


def _mosaic(images: Sequence[Image], tiles: int) -> Image:
    """Return square images [T, T, 3] side by side, row by row; places that are left over are 0."""
    size = len(images[0])
    mosaic = np.zeros((tiles * size, tiles * size, 3), np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, tiles)
        mosaic[row * size : (row + 1) * size, column * size : (column + 1) * size] = image
    return mosaic
