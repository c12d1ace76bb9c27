"""Write a mesh as a USDZ package (needs usd-core, the extra `usd`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dfast.errors import ExportError
from dfast.io.images import encode_png
from dfast.mesh.gltf import linear
from dfast.mesh.placing import Placed


def write_usdz(path: Path, mesh: Placed) -> None:
    """Write a USDZ package: y up, metres, a UsdPreviewSurface.

    Args:
        path: the file.
        mesh: in the axes and unit of the format.

    Raises:
        ExportError: usd-core cannot write the package.
    """
    from pxr import Sdf, Tf, Usd, UsdGeom, UsdUtils

    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "object.usdc"
        stage = Usd.Stage.CreateNew(str(layer))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, "/object")
        stage.SetDefaultPrim(root.GetPrim())
        shape = _mesh(stage, mesh)
        if mesh.texture is None:
            _vertex_colors(stage, shape, mesh)
        else:
            images = mesh.texture.images()
            for name, image in images.items():
                (Path(folder) / f"{name}.png").write_bytes(encode_png(image))
            _material(stage, shape, images)
        stage.Save()
        try:
            done = UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(path))
        except Tf.ErrorException as error:
            raise ExportError(f"usdz: {' '.join(str(error).split())[:200]}") from error
        if not done:
            raise OSError("usd-core could not write the package")


def _mesh(stage: Any, mesh: Placed) -> Any:
    """Define the mesh with its normals, and its texture coordinates if it has any."""
    from pxr import Sdf, UsdGeom, Vt

    shape = UsdGeom.Mesh.Define(stage, "/object/mesh")
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
    shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(_ints(np.full(len(mesh.faces), 3))))
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(_ints(mesh.faces.ravel())))
    shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(mesh.normals)))
    shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    bounds = np.stack([mesh.vertices.min(0), mesh.vertices.max(0)])
    shape.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(bounds))
    if mesh.texture is not None:
        atlas = mesh.texture.atlas
        uv = UsdGeom.PrimvarsAPI(shape).CreatePrimvar(
            "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
        )
        from_below = (atlas.uv * (1, -1) + (0, 1)).astype(np.float32)
        uv.Set(Vt.Vec2fArray.FromNumpy(from_below))
        uv.SetIndices(Vt.IntArray.FromNumpy(_ints(atlas.faces.ravel())))
    return shape


def _ints(values: Any) -> Any:
    return np.ascontiguousarray(values, np.int32)


def _surface(stage: Any, shape: Any) -> Any:
    """Define a rough UsdPreviewSurface, bind it to the mesh and return its shader."""
    from pxr import Sdf, UsdShade

    material = UsdShade.Material.Define(stage, "/object/surface")
    shader = _shader(stage, "preview", "UsdPreviewSurface", roughness=1.0, metallic=0.0)
    material.CreateSurfaceOutput().ConnectToSource(
        shader.CreateOutput("surface", Sdf.ValueTypeNames.Token)
    )
    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
    return shader


def _shader(stage: Any, name: str, kind: str, **inputs: float) -> Any:
    """Define a shader of the material, with inputs that are numbers."""
    from pxr import Sdf, UsdShade

    shader = UsdShade.Shader.Define(stage, f"/object/surface/{name}")
    shader.CreateIdAttr(kind)
    for key, value in inputs.items():
        shader.CreateInput(key, Sdf.ValueTypeNames.Float).Set(value)
    return shader


def _vertex_colors(stage: Any, shape: Any, mesh: Placed) -> None:
    """Give the mesh linear colours at its vertices, and a material that reads them."""
    from pxr import Sdf, UsdGeom, Vt

    colors = shape.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
    colors.Set(Vt.Vec3fArray.FromNumpy(linear(mesh.colors)))
    reader = _shader(stage, "colors", "UsdPrimvarReader_float3")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("displayColor")
    _surface(stage, shape).CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
        reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
    )


def _material(stage: Any, shape: Any, names: Iterable[str]) -> None:
    """Give the mesh the textures of these names: color.png, normal.png, material.png."""
    from pxr import Gf, Sdf

    types = Sdf.ValueTypeNames
    surface = _surface(stage, shape)
    reader = _shader(stage, "uv", "UsdPrimvarReader_float2")
    reader.CreateInput("varname", types.String).Set("st")
    where = reader.CreateOutput("result", types.Float2)
    for name in names:
        texture = _shader(stage, name, "UsdUVTexture")
        texture.CreateInput("file", types.Asset).Set(f"./{name}.png")
        texture.CreateInput("st", types.Float2).ConnectToSource(where)
        texture.CreateInput("sourceColorSpace", types.Token).Set(
            "sRGB" if name == "color" else "raw"
        )
        for wrap in ("wrapS", "wrapT"):
            texture.CreateInput(wrap, types.Token).Set("clamp")
        if name == "normal":  # from [0, 1] to [-1, 1]
            texture.CreateInput("scale", types.Float4).Set(Gf.Vec4f(2, 2, 2, 1))
            texture.CreateInput("bias", types.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
        inputs = {
            "color": (("diffuseColor", types.Color3f, "rgb", types.Float3),),
            "normal": (("normal", types.Normal3f, "rgb", types.Float3),),
            "material": (
                ("roughness", types.Float, "g", types.Float),
                ("metallic", types.Float, "b", types.Float),
            ),
        }[name]
        for target, kind, channel, what in inputs:
            output = texture.CreateOutput(channel, what)
            surface.CreateInput(target, kind).ConnectToSource(output)
